"""`ptemporal-compat call NAME`: sends a task, with Celery's options."""

from __future__ import annotations

import datetime as dt
import difflib
import json
from typing import Any, TypeVar

import click

from ..payload.types import read_datetime
from ..worker.task_modules import load_tasks
from .app_command import CeleryCommand
from .ask_server import JSON, load
from .common import Common
from .completion import completing, queue_names, task_names
from .errors import failing_in_one_line, loading

T = TypeVar("T")
SENT_ANYWAY = "it is sent all the same, and waits for a worker that has it"


def json_array(text: str) -> list[Any]:
    """Read a JSON array."""
    return json_of(text, list, "a JSON array such as [1, 2]")


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object."""
    return json_of(text, dict, 'a JSON object such as {"x": 1}')


def json_of(text: str, kind: type[T], meant: str) -> T:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, kind):
        raise click.BadParameter(f"{text!r} is not {meant}")
    return found


def moment(text: str) -> dt.datetime:
    """Read a moment in ISO 8601."""
    try:
        return read_datetime(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no moment such as 2026-01-31T08:00:00+00:00") from None


def moment_or_seconds(text: str) -> dt.datetime | float:
    """Read a moment in ISO 8601, or a number of seconds from now."""
    try:
        return float(text)
    except ValueError:
        return moment(text)


@click.command(cls=CeleryCommand, help="Send a call of the task NAME, and print its id.")
@click.argument("name", shell_complete=completing(task_names))
@click.option("-a", "--args", type=json_array, metavar="JSON", help="The arguments, as a JSON array.")
@click.option("-k", "--kwargs", type=json_object, metavar="JSON", help="Arguments by name, as an object.")
@click.option("--eta", type=moment, metavar="MOMENT", help="Start not before this moment, in ISO 8601.")
@click.option("--countdown", type=float, metavar="SECONDS", help="Start not before so many seconds from now.")
@click.option(
    "--expires", type=moment_or_seconds, metavar="MOMENT", help="Do not start after this moment, or so many seconds."
)
@click.option("--serializer", help="The serialiser of the arguments; default: the task's, or task_serializer.")
@click.option("--priority", type=int, help="The priority; default: the task's.")
@click.option("--queue", help="The queue; default: by task_routes.", shell_complete=completing(queue_names))
@click.option("--exchange", help="The queue of task_queues that is bound to this exchange.")
@click.option("--routing-key", help="The queue of task_queues that is bound to this key, or that has this name.")
@JSON
@click.pass_obj
def command(
    common: Common, /, name: str, args: list[Any] | None, kwargs: dict[str, Any] | None, as_json: bool, **options: Any
) -> None:
    with failing_in_one_line():
        app = load(common)
        with loading(common.named):
            load_tasks(app)
        if name not in app.tasks:
            near = difflib.get_close_matches(name, app.tasks.own(), n=1)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            click.echo(f"the application has no task {name!r}{hint}; {SENT_ANYWAY}", err=True)
        given = {key: value for key, value in options.items() if value is not None}
        sent = app.send_task(name, args, kwargs, **given)
        app.close()
        click.echo(json.dumps({"id": sent.id, "name": name}) if as_json else sent.id)
