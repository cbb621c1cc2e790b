"""`ptemporal-compat list tasks app.ini`: lists the tasks of an application."""

from __future__ import annotations

import click

from ..worker.task_modules import load_tasks
from .app_command import AppCommand
from .bootstrap import application
from .common import Common
from .errors import failing_in_one_line, loading


@click.group(help="List what an application has.")
def group() -> None:
    pass


@group.command(
    "tasks",
    cls=AppCommand,
    help="List the tasks that a worker would know, of the application in CONFIG (an ini file), or of -A before the "
    "command.",
)
@click.argument("config", required=False)
@click.pass_obj
def tasks(common: Common, config: str | None) -> None:
    with failing_in_one_line():
        app = application(common, config)
        with loading(common.named):
            load_tasks(app)
            names = list(app.tasks.own())
        for name in names:
            click.echo(name)
