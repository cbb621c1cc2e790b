"""`ptemporal-compat graph ID`: draws a canvas with the state of each task."""

from __future__ import annotations

import click

from ..celery_names.refused_commands import REFUSED_COMMANDS
from .app_command import AppCommand
from .bootstrap import application
from .common import Common
from .errors import failing_in_one_line
from .refused import refuse

TIMEOUT = 60.0
"""Seconds for reading a canvas. A canvas of 10,000 tasks has 41 histories to read."""


@click.command(
    cls=AppCommand,
    help="Draw the canvas that holds the task ID: every task, its place and its state. CONFIG is the "
    "application's ini file; -A names an app instead.",
)
@click.argument("task_id", metavar="ID")
@click.argument("config", required=False)
@click.option(
    "--dot", is_flag=True, help="For Graphviz: ptemporal-compat graph ID app.ini --dot | dot -Tsvg > canvas.svg"
)
@click.pass_obj
def command(common: Common, task_id: str, config: str | None, dot: bool) -> None:
    from ..results.canvas_view import (  # imports the client library, which `--help` does not need
        as_dot,
        as_text,
        outline,
    )

    if f"graph {task_id}" in REFUSED_COMMANDS:
        refuse(f"graph {task_id}")
    with failing_in_one_line():
        app = application(common, config)
        lines = app.temporal.call(lambda client: outline(client, task_id), TIMEOUT)
        app.close()
        if not lines:
            raise click.ClickException(
                f"{app.temporal} knows no task with the id {task_id!r}: it was never sent, or is past the namespace's "
                "retention; is it the right server (ptemporal.address) and namespace (ptemporal.namespace)?"
            )
        click.echo(as_dot(lines) if dot else as_text(lines))
