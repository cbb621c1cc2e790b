"""`ptemporal-compat schedule list|show|pause|resume|trigger|backfill|delete`: the schedules that the server has."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..exceptions import ImproperlyConfigured
from ..log_lines.text_safety import one_line
from .app_command import IniCommand
from .ask_server import JSON, WIDEST_NAME, ask, load, show
from .columns import moment
from .common import Common
from .completion import ANSWER_TIMEOUT as COMPLETION_TIMEOUT
from .completion import completing
from .errors import failing_in_one_line

if TYPE_CHECKING:
    from temporalio.client import Client, ScheduleDescription, ScheduleHandle, ScheduleListDescription

    from ..interfaces import AppLike

R = TypeVar("R")


def names_on_server(app: AppLike) -> list[str]:
    """Return the names of the schedules that the server has of this application."""
    return [name_of(each) for each in ask(app, owned_by(app), COMPLETION_TIMEOUT)]


CONFIG = click.argument("config")
NAME = click.argument("name", shell_complete=completing(names_on_server))
MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])
NOTE = click.Option(["--note"], help="Why; the web UI shows it.")


@click.group(
    help="Look at, pause and fire the schedules that the server has of the application in CONFIG (an ini file), "
    "or of --ini or -A."
)
def group() -> None:
    pass


def owned_by(app: AppLike) -> Callable[[Client], Awaitable[list[ScheduleListDescription]]]:
    """Return the question which schedules of the server belong to this application."""
    from ..schedules.entries import application_name
    from ..schedules.sync import owned

    async def question(client: Client) -> list[ScheduleListDescription]:
        return [each async for each in owned(client, application_name(app))]

    return question


def name_of(found: ScheduleListDescription) -> str:
    """Return the name of the entry that the schedule was made from."""
    return found.id.partition("/")[2]


def act(common: Common, config: str, name: str, action: Callable[[Client, ScheduleHandle], Awaitable[R]]) -> R:
    """Return what `action` returns for the schedule of an entry. Raise if no entry has that name."""
    from ..schedules.entries import application_name
    from ..schedules.sync import handle_of

    app = load(common, config)

    async def question(client: Client) -> R | None:
        handle = await handle_of(client, application_name(app), name)
        return None if handle is None else await action(client, handle)

    found = ask(app, question)
    if found is None:
        raise ImproperlyConfigured(
            f"the server has no schedule {name!r} of this application; ptemporal-compat schedule list {common.named} "
            "shows what it has"
        )
    return found


@group.command(
    "list", cls=IniCommand, help="List the schedules: their next and last times, and whether they are paused."
)
@CONFIG
@JSON
@click.pass_obj
def list_schedules(common: Common, config: str, as_json: bool) -> None:
    with failing_in_one_line():
        app = load(common, config)
        rows = sorted((_row(each) for each in ask(app, owned_by(app))), key=lambda row: str(row["name"]))
        if as_json:
            click.echo(json.dumps(rows))
            return
        width = min(max((len(row["name"]) for row in rows), default=0), WIDEST_NAME)
        for row in rows:
            following = row["next"] or ("by its class" if row["driven"] else "-")
            state = "paused" if row["paused"] else f"next {following}"
            click.echo(one_line(f"{row['name']:{width}}  {row['starts']}  {state}  last {row['last'] or '-'}"))


def _row(found: ScheduleListDescription) -> dict[str, Any]:
    info, schedule = found.info, found.schedule
    return {
        "name": name_of(found),
        "starts": getattr(schedule.action, "workflow", None) if schedule else None,
        "paused": bool(schedule and schedule.state.paused),
        "note": schedule.state.note if schedule else None,
        "driven": bool(schedule and not (schedule.spec.calendars or schedule.spec.intervals)),
        "next": moment(info.next_action_times[0]) if info and info.next_action_times else None,
        "last": moment(info.recent_actions[-1].scheduled_at) if info and info.recent_actions else None,
    }


@group.command(
    "show", cls=IniCommand, help="Show one schedule: its next times, its last runs, and how many were missed."
)
@CONFIG
@NAME
@JSON
@click.pass_obj
def show_schedule(common: Common, config: str, name: str, as_json: bool) -> None:
    with failing_in_one_line():
        show(_details(name, act(common, config, name, lambda _, handle: handle.describe())), as_json)


def _details(name: str, found: ScheduleDescription) -> dict[str, Any]:
    info, schedule = found.info, found.schedule
    runs = [getattr(each, "workflow_id", str(each)) for each in info.running_actions]
    return {
        "name": name,
        "id": found.id,
        "starts": getattr(schedule.action, "workflow", None),
        "queue": getattr(schedule.action, "task_queue", None),
        "paused": schedule.state.paused,
        "note": schedule.state.note,
        "overlap": schedule.policy.overlap.name.lower(),
        "runs": info.num_actions,
        "missed": info.num_actions_missed_catchup_window,
        "running": runs,
        "next": [moment(each) for each in info.next_action_times[:5]],
        "last": [getattr(each.action, "workflow_id", "") for each in info.recent_actions[-5:]],
    }


async def _delete(client: Client, id: str) -> None:
    from ..schedules.sync import delete_schedule

    await delete_schedule(client, id)


Deed = Callable[["Client", "ScheduleHandle", str | None], Awaitable[None]]


def add_command(name: str, help: str, deed: Deed, done: str, *, noted: bool = False) -> None:
    """Add a command that does one thing with one schedule.

    :param noted: the command takes `--note`.
    """

    @group.command(name, cls=IniCommand, help=help)
    @CONFIG
    @NAME
    @click.pass_obj
    def command(common: Common, config: str, name: str, note: str | None = None) -> None:
        words = note or f"{done} by ptemporal-compat"
        do(common, config, name, lambda client, handle: deed(client, handle, words), done)

    if noted:
        command.params.append(NOTE)


def do(
    common: Common, config: str, name: str, action: Callable[[Client, ScheduleHandle], Awaitable[None]], done: str
) -> None:
    async def work(client: Client, handle: ScheduleHandle) -> bool:
        await action(client, handle)
        return True

    with failing_in_one_line():
        act(common, config, name, work)
        click.echo(one_line(f"{name}: {done}"))


add_command(
    "pause",
    "Start nothing from this schedule until it is resumed. `beat` does not resume it.",
    lambda _, handle, note: handle.pause(note=note),
    "paused",
    noted=True,
)
add_command(
    "resume",
    "Go on with a schedule that is paused.",
    lambda _, handle, note: handle.unpause(note=note),
    "resumed",
    noted=True,
)
add_command(
    "trigger",
    "Start the task now, once. Twice within the same second starts it once.",
    lambda _, handle, note: handle.trigger(),
    "triggered",
)
add_command(
    "delete",
    "Delete a schedule from the server. `beat` creates it again if it is still declared.",
    lambda client, handle, note: _delete(client, handle.id),
    "deleted",
)


@group.command(
    "backfill",
    cls=IniCommand,
    help="Start the task for each time that the schedule has between BEGIN and END. These are moments in UTC, such "
    "as 2026-01-31 or 2026-01-31T08:00.",
)
@CONFIG
@NAME
@click.argument("begin", type=MOMENT, metavar="BEGIN")
@click.argument("end", type=MOMENT, metavar="END")
@click.pass_obj
def backfill(common: Common, config: str, name: str, begin: dt.datetime, end: dt.datetime) -> None:
    from temporalio.client import ScheduleBackfill, ScheduleOverlapPolicy

    span = [each.replace(tzinfo=dt.timezone.utc) for each in (begin, end)]
    if span[0] >= span[1]:
        raise click.UsageError(f"{begin} is not before {end}; both are in UTC")
    period = ScheduleBackfill(span[0], span[1], ScheduleOverlapPolicy.ALLOW_ALL)
    do(common, config, name, lambda _, handle: handle.backfill(period), "backfilled")
