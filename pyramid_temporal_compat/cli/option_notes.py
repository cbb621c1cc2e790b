"""Says what replaces the options of Celery's commands that need nothing done here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ..exceptions import ImproperlyConfigured


def say_of_options(
    given: Mapping[str, Any], taken: Mapping[str, str], refused: Mapping[str, str] | None = None
) -> None:
    """Print a line for each of Celery's options that needs nothing done. Raise for an option that is refused."""
    for name, value in given.items():
        if value in (None, False):
            continue
        written = f"--{name.replace('_', '-')}"
        if refused and name in refused:
            raise ImproperlyConfigured(f"{written} is refused: {refused[name]}")
        click.echo(f"{written}: {taken[name]}", err=True)
