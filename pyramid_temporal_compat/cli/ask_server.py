"""What commands share that ask the server about one application: how they ask, and how they print the answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..log_lines.text_safety import one_line
from .bootstrap import application
from .common import Common
from .errors import loading

if TYPE_CHECKING:
    from temporalio.client import Client

    from ..interfaces import AppLike

R = TypeVar("R")

WIDEST_NAME = 60
"""Characters of a column of names. A longer name moves only the rest of its own line."""
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
ANSWER_TIMEOUT = 60.0
"""Seconds for one question to the server."""


def load(common: Common, config: str | None = None) -> AppLike:
    """Load the application that the command line names."""
    with loading(config or common.config or common.named, debug=False):
        return application(common, config)


def ask(app: AppLike, question: Callable[[Client], Awaitable[R]], timeout: float | None = ANSWER_TIMEOUT) -> R:
    """Return what `question` answers, of a client. Close the app's connection."""
    try:
        return app.temporal.call(question, timeout)
    finally:
        app.close()


def show(found: dict[str, Any], as_json: bool) -> None:
    """Print a dict: as JSON, or one line for each key."""
    if as_json:
        click.echo(json.dumps(found, default=str))
        return
    for key, value in found.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        click.echo(one_line(f"{key:12} {'-' if text in (None, '') else text}"))
