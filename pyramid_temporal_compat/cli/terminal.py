"""Prints as Celery's commands do: replies of workers, with Celery's marks and colours."""

from __future__ import annotations

import json
import pprint
import textwrap
from collections.abc import Mapping
from typing import Any

import click

from ..log_lines.text_safety import one_line, safe_lines


class Terminal:
    """Writes to the terminal. `no_color` is `-C`; click itself leaves out colours where the output is a file."""

    def __init__(self, no_color: bool | None = None, quiet: bool = False) -> None:
        self.no_color = no_color
        self.quiet = quiet

    @property
    def OK(self) -> str:
        return self.style("OK", fg="green", bold=True)

    @property
    def ERROR(self) -> str:
        return self.style("ERROR", fg="red", bold=True)

    def style(self, text: str, **style: Any) -> str:
        return text if self.no_color else click.style(text, **style)

    def echo(self, text: Any = None, **options: Any) -> None:
        click.echo(text, **{"color": False if self.no_color else None, **options})

    def secho(self, text: Any = None, **options: Any) -> None:
        click.secho(text, **{"color": False if self.no_color else None, **options})

    def error(self, text: Any = None, **options: Any) -> None:
        self.secho(text, err=True, **options)

    def show_reply(self, reply: Mapping[str, Any], *, with_body: bool) -> None:
        """Print the reply of one worker: `->  w1@host: OK`, and below it what the worker said."""
        for node, said in reply.items():
            mark, text = self.pretty(said)
            arrow = "" if self.quiet else f"{self.style('->', fg='white', bold=True)}  "
            self.echo(f"{arrow}{self.style(f'{one_line(node)}:', fg='cyan', bold=True)} {mark}")
            if with_body and text:
                self.echo(textwrap.indent(text, "    "))

    def pretty(self, value: Any) -> tuple[str, str]:
        """Return the mark of a reply, OK or ERROR, and the reply as text."""
        if isinstance(value, dict) and ("ok" in value or "error" in value):
            mark, inner = (self.OK, value["ok"]) if "ok" in value else (self.ERROR, value["error"])
            return mark, textwrap.indent(self.pretty(inner)[1], "    ")
        if isinstance(value, dict):
            return self.OK, json.dumps(value, sort_keys=True, indent=4, default=str)
        if isinstance(value, list):
            return self.OK, "\n".join(f"* {one_line(each)}" for each in value) or "- empty -"
        text = value if isinstance(value, str) else pprint.pformat(value)
        return self.OK, safe_lines(text)
