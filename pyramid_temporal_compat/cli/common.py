"""The options that every command shares: they come before the command's name.

A module of its own, because `cli/__init__.py` needs it, and `bootstrap.py` imports all of Pyramid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..interfaces import AppLike


@dataclass
class Common:
    """The values of Celery's global options."""

    app: str | AppLike | None = None
    """The value of `-A`, or the app whose `start()` runs this command line."""
    name: str = ""
    """The value of `-A`."""
    config: str | None = None
    """The path of an ini file."""
    quiet: bool = False
    no_color: bool | None = None
