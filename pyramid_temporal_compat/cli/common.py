"""What every command is given by the options before its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..interfaces import AppLike


@dataclass
class Common:
    """Celery's global options."""

    app: str | AppLike | None = None
    """`-A`, or the app whose `start()` this is."""
    name: str = ""
    """What `-A` said."""
    config: str | None = None
    """An ini file."""
    quiet: bool = False
    no_color: bool | None = None
