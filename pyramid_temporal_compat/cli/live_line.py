"""A line that tells how far a long command is: written again and again on a terminal, and now and then elsewhere."""

from __future__ import annotations

import sys
import time

import click

from ..log_lines.text_safety import one_line

CLEAR = "\r\x1b[K"
SELDOM = 10.0
"""Seconds between two lines where no terminal is."""


class LiveLine:
    """Writes to stderr. `end` has to follow before anything else is written."""

    def __init__(self) -> None:
        self._last = self._written = ""
        self._next = 0.0
        """When the next line may be written."""

    def show(self, text: str) -> None:
        """Show a text that may be the same as before."""
        self._last = one_line(text)
        if self._last == self._written:
            return
        if sys.stderr.isatty():
            click.echo(f"{CLEAR}{self._last}", nl=False, err=True)
        elif time.monotonic() >= self._next:
            click.echo(self._last, err=True)
            self._next = time.monotonic() + SELDOM
        else:
            return
        self._written = self._last

    def end(self) -> None:
        """Leave the last line as it is, and go on below it."""
        self._next = 0.0
        self.show(self._last)
        if self._written and sys.stderr.isatty():
            click.echo(err=True)
        self._last = self._written = ""


def bar(done: int, total: int, width: int = 24) -> str:
    """Return a bar that shows how much of the work is done."""
    filled = width if total <= 0 else width * min(done, total) // total
    return f"[{'#' * filled}{'.' * (width - filled)}]"
