"""What every command is given by the options before its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..app import Celery


@dataclass
class Common:
    """Celery's global options."""

    app: str | Celery | None = None
    """`-A`, or the app whose `start()` this is."""
    name: str = ""
    """What `-A` said."""
    config: str | None = None
    """An ini file."""
    quiet: bool = False
    no_color: bool | None = None
