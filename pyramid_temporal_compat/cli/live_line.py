"""A line that tells how far a long command is: written again and again on a terminal, and once a change elsewhere."""

from __future__ import annotations

import sys

import click

from ..log_lines.text_safety import one_line

CLEAR = "\r\x1b[K"


class LiveLine:
    """Writes to stderr. `end` has to follow before anything else is written."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, text: str) -> None:
        """Show a text that may be the same as before."""
        line = one_line(text)
        if line == self._last:
            return
        self._last = line
        is_terminal = sys.stderr.isatty()
        click.echo(f"{CLEAR}{line}" if is_terminal else line, nl=not is_terminal, err=True)

    def end(self) -> None:
        """Leave the line as it is, and go on below it."""
        if self._last and sys.stderr.isatty():
            click.echo(err=True)
        self._last = ""


def bar(done: int, total: int, width: int = 24) -> str:
    """Return a bar that shows how much of the work is done."""
    filled = width if total <= 0 else width * min(done, total) // total
    return f"[{'#' * filled}{'.' * (width - filled)}]"
