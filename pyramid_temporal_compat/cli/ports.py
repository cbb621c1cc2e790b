"""The type of an option that says where to listen."""

from __future__ import annotations

import click

from ..settings.values import Reason, listener


def listening(value: str) -> str:
    """Read `port` or `host:port`."""
    try:
        return str(listener.parse(value))
    except ValueError as error:
        reason = f" ({error})" if isinstance(error, Reason) else ""
        raise click.BadParameter(f"{value!r} is not {listener.takes}{reason}") from None
