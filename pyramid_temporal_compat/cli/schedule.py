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
from .bootstrap import application
from .common import Common
from .errors import failing_in_one_line, loading

if TYPE_CHECKING:
    from temporalio.client import ScheduleDescription, ScheduleHandle, ScheduleListDescription

R = TypeVar("R")

CONFIG = click.argument("config")
NAME = click.argument("name")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
NOTE = click.option("--note", help="Why; the web UI shows it.")
ANSWER_TIMEOUT = 60.0
"""Seconds for one question to the server."""


@click.group(
    help="Look at, pause and fire the schedules that the server has of the application in CONFIG (an ini file), "
    "or of --ini or -A before the command."
)
def group() -> None:
    pass


def ask(common: Common, config: str, question: Callable[[Any, str], Awaitable[R]]) -> R:
    """Return what `question` answers, of a client and the application's name."""
    from ..schedules.entries import application_name

    with loading(config or common.named, debug=False):
        app = application(common, config)
    name = application_name(app)
    try:
        return app.temporal.call(lambda client: question(client, name), ANSWER_TIMEOUT)
    finally:
        app.close()


def act(common: Common, config: str, name: str, action: Callable[[ScheduleHandle], Awaitable[R]]) -> R:
    """Return what `action` returns for the schedule of an entry. Raise if no entry has that name."""
    from ..schedules.sync import handle_of

    async def question(client: Any, application: str) -> R | None:
        handle = await handle_of(client, application, name)
        return None if handle is None else await action(handle)

    found = ask(common, config, question)
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
    from ..schedules.sync import owned

    async def question(client: Any, application: str) -> list[ScheduleListDescription]:
        return [each async for each in owned(client, application)]

    with failing_in_one_line():
        rows = sorted((_row(each) for each in ask(common, config, question)), key=lambda row: str(row["name"]))
        if as_json:
            click.echo(json.dumps(rows))
            return
        width = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            state = "paused" if row["paused"] else f"next {row['next'] or '-'}"
            click.echo(one_line(f"{row['name']:{width}}  {row['starts']}  {state}  last {row['last'] or '-'}"))


def _row(found: ScheduleListDescription) -> dict[str, Any]:
    info, schedule = found.info, found.schedule
    return {
        "name": found.id.partition("/")[2],
        "starts": getattr(schedule.action, "workflow", None) if schedule else None,
        "paused": bool(schedule and schedule.state.paused),
        "note": schedule.state.note if schedule else None,
        "next": _written(info.next_action_times[0]) if info and info.next_action_times else None,
        "last": _written(info.recent_actions[-1].scheduled_at) if info and info.recent_actions else None,
    }


@group.command(
    "show", cls=IniCommand, help="Show one schedule: its next times, its last runs, and how many were missed."
)
@CONFIG
@NAME
@JSON
@click.pass_obj
def show(common: Common, config: str, name: str, as_json: bool) -> None:
    with failing_in_one_line():
        shown = _details(name, act(common, config, name, lambda handle: handle.describe()))
        if as_json:
            click.echo(json.dumps(shown))
            return
        for key, value in shown.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            click.echo(one_line(f"{key:12} {'-' if text in (None, '') else text}"))


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
        "next": [_written(each) for each in info.next_action_times[:5]],
        "last": [getattr(each.action, "workflow_id", "") for each in info.recent_actions[-5:]],
    }


def _written(moment: dt.datetime) -> str:
    return moment.astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@group.command(
    "pause", cls=IniCommand, help="Start nothing from this schedule until it is resumed. `beat` does not resume it."
)
@CONFIG
@NAME
@NOTE
@click.pass_obj
def pause(common: Common, config: str, name: str, note: str | None) -> None:
    _do(common, config, name, lambda handle: handle.pause(note=note or "paused by ptemporal-compat"), "paused")


@group.command("resume", cls=IniCommand, help="Go on with a schedule that is paused.")
@CONFIG
@NAME
@NOTE
@click.pass_obj
def resume(common: Common, config: str, name: str, note: str | None) -> None:
    _do(common, config, name, lambda handle: handle.unpause(note=note or "resumed by ptemporal-compat"), "resumed")


@group.command("trigger", cls=IniCommand, help="Start the task now, once. Twice within the same second starts it once.")
@CONFIG
@NAME
@click.pass_obj
def trigger(common: Common, config: str, name: str) -> None:
    _do(common, config, name, lambda handle: handle.trigger(), "triggered")


@group.command(
    "backfill", cls=IniCommand, help="Start the task for each time that the schedule has between two moments."
)
@CONFIG
@NAME
@click.argument("begin", type=click.DateTime())
@click.argument("end", type=click.DateTime())
@click.pass_obj
def backfill(common: Common, config: str, name: str, begin: dt.datetime, end: dt.datetime) -> None:
    from temporalio.client import ScheduleBackfill, ScheduleOverlapPolicy

    span = [each.replace(tzinfo=dt.timezone.utc) for each in (begin, end)]
    if span[0] >= span[1]:
        raise click.UsageError(f"{begin} is not before {end}; both are in UTC")
    period = ScheduleBackfill(span[0], span[1], ScheduleOverlapPolicy.ALLOW_ALL)
    _do(common, config, name, lambda handle: handle.backfill(period), "backfilled")


@group.command(
    "delete", cls=IniCommand, help="Delete a schedule from the server. `beat` creates it again if it is still declared."
)
@CONFIG
@NAME
@click.pass_obj
def delete(common: Common, config: str, name: str) -> None:
    _do(common, config, name, lambda handle: handle.delete(), "deleted")


def _do(common: Common, config: str, name: str, action: Callable[[ScheduleHandle], Awaitable[None]], done: str) -> None:
    async def work(handle: ScheduleHandle) -> bool:
        await action(handle)
        return True

    with failing_in_one_line():
        act(common, config, name, work)
        click.echo(one_line(f"{name}: {done}"))
