"""`ptemporal-compat list tasks app.ini`: lists the tasks of an application."""

from __future__ import annotations

import click

from ..worker.task_modules import load_tasks
from .bootstrap import bootstrapped, failing_in_one_line


@click.group(help="List what an application has.")
def group() -> None:
    pass


@group.command("tasks", help="List the tasks that a worker of the application in CONFIG (an ini file) would know.")
@click.argument("config")
def tasks(config: str) -> None:
    with failing_in_one_line():
        app = bootstrapped(config)
        load_tasks(app)
        for name in app.tasks.own():
            click.echo(name)
