"""Which Celery this package stands for, as `celery` and `kombu` say it themselves."""

from __future__ import annotations

from typing import NamedTuple


class version_info_t(NamedTuple):
    major: int
    minor: int
    micro: int
    releaselevel: str = ""
    serial: str = ""


VERSION = version_info = version_info_t(5, 7, 0)
__version__ = ".".join(map(str, VERSION[:3]))
SERIES = "collider"
VERSION_BANNER = f"{__version__} ({SERIES})"
