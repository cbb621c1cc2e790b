"""The versions of Celery, kombu and billiard that this package stands for, under the names in these packages."""

from __future__ import annotations

from typing import NamedTuple


class version_info_t(NamedTuple):
    """A version by its parts."""

    major: int
    minor: int
    micro: int
    releaselevel: str = ""
    serial: str = ""


VERSION = version_info = version_info_t(5, 7, 0)
__version__ = ".".join(map(str, VERSION[:3]))
SERIES = "collider"
VERSION_BANNER = f"{__version__} ({SERIES})"

BILLIARD_VERSION = (4, 3, 2, "")
RELEASES = {"celery": __version__, "kombu": __version__, "billiard": ".".join(map(str, BILLIARD_VERSION[:3]))}
"""The version of each distribution."""
