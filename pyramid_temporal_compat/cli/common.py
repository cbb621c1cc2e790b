"""The options that every command shares: they come before the command's name.

A module of its own, because `cli/__init__.py` needs it, and `bootstrap.py` imports all of Pyramid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

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
    variables: dict[str, str] = field(default_factory=dict)
    """Paste's variables: what `%(name)s` stands for in the ini file."""
    quiet: bool = False
    no_color: bool | None = None


def variables(value: str) -> dict[str, str]:
    """Read Paste's variables: `port=8080,stage=test`."""
    pairs = [pair.partition("=") for pair in value.split(",")]
    if wrong := [name for name, equals, _ in pairs if not name.strip() or not equals]:
        raise click.BadParameter(f"{wrong[0]!r} is not NAME=VALUE, such as port=8080")
    return {name.strip(): text for name, _, text in pairs}
