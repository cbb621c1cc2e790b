"""`ptemporal-compat events --dump`: prints each change of a task as a line, read from the server."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..exceptions import OperationalError
from ..log_lines.text_safety import one_line
from .app_command import CeleryCommand
from .ask_server import ANSWER_TIMEOUT, JSON, load
from .common import Common
from .errors import failing_in_one_line
from .option_notes import say_of_options
from .refused import refuse

if TYPE_CHECKING:
    from temporalio.client import Client

    from ..control.task_changes import TaskChange, Watch
    from ..interfaces import AppLike

TAKEN = {
    "detach": "the command stays in the foreground; a service manager runs it in the background",
    "maxrate": "the command looks at the server once in --frequency seconds, and prints what it finds",
    "loglevel": "the command prints changes, and logs nothing",
    "logfile": "the command prints to standard output",
    "pidfile": "no file with the process id is written",
    "uid": "start the command as that user",
    "gid": "start the command as that group",
    "umask": "the command writes no file",
    "executable": "the command starts no other process",
}
"""Options of Celery's that need nothing done here, each with the reason."""


@click.command(
    cls=CeleryCommand,
    help="Print each change of a task as a line, until Ctrl-C. The changes are read from the server, so they need no "
    "worker that sends events. A task that starts and ends between two looks has no line for its start.",
)
@click.option("-d", "--dump", is_flag=True, help="Print lines. Celery's curses screen is refused.")
@click.option("-c", "--camera", hidden=True)
@click.option(
    "-F",
    "--frequency",
    "--freq",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Look at the server so often.",
)
@click.option("--detach", is_flag=True, hidden=True)
@click.option("-r", "--maxrate", hidden=True)
@click.option("-l", "--loglevel", hidden=True)
@click.option("-f", "--logfile", hidden=True)
@click.option("--pidfile", hidden=True)
@click.option("--uid", hidden=True)
@click.option("--gid", hidden=True)
@click.option("--umask", hidden=True)
@click.option("--executable", hidden=True)
@JSON
@click.pass_obj
def command(common: Common, /, dump: bool, camera: str | None, frequency: float, as_json: bool, **celerys: Any) -> None:
    if camera is not None:
        refuse("events --camera")
    if not dump:
        refuse("events")
    with failing_in_one_line():
        say_of_options(celerys, TAKEN)
        app = load(common)
        watch = app.temporal.call(watch_from_now, ANSWER_TIMEOUT)
        if not as_json:
            click.echo(f"-> looking at {app.temporal} every {frequency:g} s ...")
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how the command ends
            while True:
                for line in lines_of_look(app, watch, as_json):
                    click.echo(line)
                time.sleep(frequency)
        app.close()


async def watch_from_now(client: Client) -> Watch:
    from ..control.task_changes import Watch  # the client library: 0.4 s, which `--help` does not need

    await client.service_client.check_health()
    return Watch(client)


def lines_of_look(app: AppLike, watch: Watch, as_json: bool) -> Iterator[str]:
    """Yield a line for each change since the last look. If the server is away, say so, and try again later."""
    try:
        changes: list[TaskChange] = app.temporal.call(lambda client: watch.look(), ANSWER_TIMEOUT)
    except OperationalError as error:
        click.echo(f"-> connection lost, trying again: {error}", err=True)
        return
    for change in changes:
        fields = fields_of(app, change)
        yield as_json_line(change, fields) if as_json else as_text_line(change, fields)
    if watch.left_out:
        click.echo("-> more tasks have changed than one look reads; some have no lines", err=True)


def fields_of(app: AppLike, change: TaskChange) -> dict[str, Any]:
    """Return what Celery's event of this type carries, as far as the server knows it."""
    status = change.status
    fields: dict[str, Any] = {"queue": change.queue}
    if status is None:
        return fields
    if status.worker:
        fields["hostname"] = status.worker
    if status.retries:
        fields["retries"] = status.retries
    if change.runtime is not None:
        fields["runtime"] = round(change.runtime, 3)
    value = app.AsyncResult(change.id).value_of(status)
    if isinstance(value, BaseException):
        fields["exception"] = f"{type(value).__name__}: {value}"
    elif change.type == "task-succeeded":
        fields["result"] = repr(value)
    return fields


def as_text_line(change: TaskChange, fields: dict[str, Any]) -> str:
    host = fields.pop("hostname", change.queue)
    kind = change.type.replace("-", " ")
    more = ", ".join(f"{key}={value}" for key, value in sorted(fields.items()))
    return one_line(f"{host} [{change.at}] {kind}: {change.name}({change.id}) {more}")


def as_json_line(change: TaskChange, fields: dict[str, Any]) -> str:
    event = {"type": change.type, "uuid": change.id, "name": change.name, "timestamp": change.at.timestamp()}
    return json.dumps({**event, **fields}, default=str)
