"""`ptemporal-compat result ID`: waits for the end of a task, and prints its result."""

from __future__ import annotations

import json
from typing import Any

import click

from ..exceptions import ImproperlyConfigured, TimeoutError
from ..log_lines.text_safety import one_line, safe_lines
from ..worker.task_modules import load_tasks
from .app_command import CeleryCommand
from .ask_server import JSON, load
from .common import Common
from .completion import completing, task_names
from .errors import EXIT_FAILED, failing_in_one_line, loading


@click.command(
    cls=CeleryCommand,
    help="Wait for the end of the task ID, and print its result. Exits with 1 if the task failed.",
)
@click.argument("task_id")
@click.option(
    "-t",
    "--task",
    help="The task's name. Only a result of the task's own types needs it.",
    shell_complete=completing(task_names),
)
@click.option("--traceback", is_flag=True, help="Print the traceback of the task's error instead, and do not wait.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait at most so long.")
@JSON
@click.pass_context
def command(
    ctx: click.Context, /, task_id: str, task: str | None, traceback: bool, timeout: float | None, as_json: bool
) -> None:
    common = ctx.ensure_object(Common)
    with failing_in_one_line():
        app = load(common)
        with loading(common.named):
            load_tasks(app)  # the application's own types and errors are read with them
        if task is not None and task not in app.tasks:
            raise ImproperlyConfigured(f"-t {task}: the application has no such task; list tasks shows all")
        found = app.tasks[task].AsyncResult(task_id) if task else app.AsyncResult(task_id)
        if traceback:
            show_traceback(found, as_json)
        else:
            ctx.exit(0 if show_result(found, timeout, as_json) else EXIT_FAILED)


def show_traceback(found: Any, as_json: bool) -> None:
    text = found.traceback
    if as_json:
        click.echo(json.dumps({"id": found.id, "state": found.state, "traceback": text}))
    else:
        click.echo(text if text is None else safe_lines(text))


def show_result(found: Any, timeout: float | None, as_json: bool) -> bool:
    """Print what the task returned, or its error. Return whether it succeeded."""
    if not found.ready():
        click.echo(f"{one_line(found.id)} is {found.state}; this waits for its end", err=True)
    try:
        value = found.get(timeout=timeout, propagate=False)
    except TimeoutError as error:
        raise click.ClickException(str(error)) from None
    failed = isinstance(value, BaseException)
    shown = f"{type(value).__name__}: {value}" if failed else value
    if as_json:
        key = "error" if failed else "result"
        click.echo(json.dumps({"id": found.id, "state": found.state, key: shown}, default=str))
    else:
        click.echo(safe_lines(str(shown)), err=failed)
    return not failed
