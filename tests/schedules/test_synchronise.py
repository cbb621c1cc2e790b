"""Making the server equal to the declaration: what is created, updated, kept and deleted, and what is refused."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, OperationalError
from pyramid_temporal_compat.schedules import BaseSchedule, crontab, schedule
from pyramid_temporal_compat.schedules.sync import delete_schedule, is_listed
from pyramid_temporal_compat.server.embedded import EmbeddedServer
from tests.faults.proxy import Proxy
from tests.parts import wait_until
from tests.schedules.parts import calls_of, firings, kinds, on_server, rewrite, synchronise, trigger

NO_SCHEDULES = ("--dynamic-config-value", "frontend.enableSchedules=false")
"""With it, the server answers each call for schedules with PERMISSION_DENIED."""
HALF_OF_30_ENTRIES = 15_000
"""Bytes that a client sends to create them."""
NIGHT = crontab(hour=3, minute=0)


def entry(**more: Any) -> dict[str, Any]:
    return {"task": "add", "schedule": NIGHT, "args": (1, 2), **more}


def test_the_server_gets_equal_to_the_declaration(app: Celery) -> None:
    app.conf.beat_schedule = {"a": entry(), "b": entry(), "c": entry()}
    assert kinds(synchronise(app)) == {"a": "create", "b": "create", "c": "create"}
    assert kinds(synchronise(app)) == {"a": "unchanged", "b": "unchanged", "c": "unchanged"}
    app.conf.beat_schedule = {"a": entry(), "b": entry(args=(1, 3)), "d": entry()}
    assert kinds(synchronise(app, prune=False)) == {"a": "unchanged", "b": "update", "c": "undeclared", "d": "create"}
    assert kinds(synchronise(app)) == {"a": "unchanged", "b": "unchanged", "c": "delete", "d": "unchanged"}
    assert kinds(synchronise(app)) == {"a": "unchanged", "b": "unchanged", "d": "unchanged"}


@pytest.mark.parametrize(
    "changed",
    [
        {"schedule": 60},
        {"schedule": crontab(hour=4, minute=0)},
        {"args": (2, 2)},
        {"kwargs": {"z": 1}},
        {"options": {"queue": "elsewhere"}},
        {"options": {"priority": 3}},
        {"options": {"expires": 60}},
        {"options": {"countdown": 60}},
        {"options": {"headers": {"a": 1}}},
        {"overlap": "skip"},
        {"overlap": "skip", "pause_on_failure": True},
        {"jitter": 5},
        {"catchup_window": dt.timedelta(hours=1)},
        {"task": "tell", "args": ()},
    ],
    ids=str,
)
def test_each_part_of_an_entry_is_seen_when_it_changes(app: Celery, changed: dict[str, Any]) -> None:
    app.tasks["add"].typing = False
    app.conf.beat_schedule = {"a": entry()}
    synchronise(app)
    app.conf.beat_schedule = {"a": entry(**changed)}
    assert kinds(synchronise(app)) == {"a": "update"}
    assert kinds(synchronise(app)) == {"a": "unchanged"}


def test_without_change_nothing_is_written(app: Celery) -> None:
    app.conf.beat_schedule = {"a": entry()}
    assert kinds(synchronise(app, change=False)) == {"a": "create"}
    assert kinds(synchronise(app, change=False)) == {"a": "create"}


def test_an_update_keeps_the_pause_its_note_and_the_last_runs(app: Celery) -> None:
    app.conf.beat_schedule = {"a": entry(note="nightly")}
    synchronise(app)
    assert on_server(app, "a").schedule.state.note == "nightly"
    fired = trigger(app, "a")

    async def pause(client: Any) -> None:
        await client.get_schedule_handle(f"{app.main}/a").pause(note="the disk is full")

    app.temporal.call(pause, 20)
    app.conf.beat_schedule = {"a": entry(note="nightly", args=(5, 5))}
    assert kinds(synchronise(app)) == {"a": "update"}
    found = on_server(app, "a")
    assert (found.schedule.state.paused, found.schedule.state.note) == (True, "the disk is full")
    assert firings(app, "a") == [fired]


@pytest.mark.parametrize(
    "edit",
    [
        lambda held: setattr(held.schedule.action.start_workflow.task_queue, "name", "elsewhere"),
        lambda held: held.schedule.action.start_workflow.ClearField("memo"),  # what the web UI does
        lambda held: held.schedule.spec.structured_calendar.pop(),
        lambda held: setattr(held.schedule.policies, "overlap_policy", 2),
    ],
    ids=["queue", "arguments", "times", "overlap"],
)
def test_what_somebody_edits_in_the_web_ui_is_seen_and_made_equal(app: Celery, edit: Any) -> None:
    app.conf.beat_schedule = {"a": entry()}
    synchronise(app)
    rewrite(app, "a", edit)
    assert kinds(synchronise(app, change=False, look_at_each=True)) == {"a": "update"}
    assert kinds(synchronise(app, look_at_each=True)) == {"a": "update"}
    assert kinds(synchronise(app, look_at_each=True)) == {"a": "unchanged"}


def test_the_servers_list_shows_changed_declarations_and_edited_times(app: Celery) -> None:
    app.conf.beat_schedule = {"a": entry(), "b": entry(), "c": entry()}
    synchronise(app)
    unchanged = {"a": "unchanged", "b": "unchanged", "c": "unchanged"}
    assert kinds(synchronise(app)) == unchanged
    rewrite(app, "b", lambda held: held.schedule.spec.structured_calendar.pop())
    app.conf.beat_schedule = {"a": entry(args=(2, 2)), "b": entry(), "c": entry()}
    wait_until(
        lambda: kinds(synchronise(app, change=False)) == {"a": "update", "b": "update", "c": "unchanged"},
        60,
        "the list shows the edited times",
    )
    synchronise(app)
    wait_until(lambda: kinds(synchronise(app)) == unchanged, 60, "the list shows the update")


def test_the_servers_list_is_one_call_for_any_number_of_schedules(app: Celery) -> None:
    app.conf.beat_schedule = {f"entry {number}": entry() for number in range(30)}
    synchronise(app)
    wait_until(lambda: calls_of(app, look_at_each=False) == 1, 60, "the list has all schedules")
    assert calls_of(app, look_at_each=True) == 31


def test_a_server_that_goes_away_half_way_is_an_error_and_the_next_run_ends_the_work(
    app: Celery, temporal_server: EmbeddedServer
) -> None:
    app.conf.beat_schedule = {f"entry {number}": entry() for number in range(30)}
    sent: list[int] = []

    def is_half_way(data: bytes) -> bool:
        sent.append(len(data))
        return sum(sent) > HALF_OF_30_ENTRIES

    assert temporal_server.port is not None
    with Proxy(temporal_server.port, is_half_way) as proxy:
        through = Celery(app.main, **{"ptemporal.address": proxy.address})
        through.task(name="add")(lambda x, y: x + y)
        through.conf.task_default_queue, through.conf.beat_schedule = app.main, app.conf.beat_schedule
        with pytest.raises(OperationalError):
            synchronise(through)
        through.close()
    assert set(kinds(synchronise(app)).values()) == {"create", "unchanged"}
    wait_until(lambda: not synchronise(app).differences, 60, "the server is equal")


@pytest.mark.integration
def test_a_missing_permission_is_named() -> None:
    with EmbeddedServer(headless=True, extra_args=NO_SCHEDULES) as server:
        app = Celery("denied", **{"ptemporal.address": server.address})
        app.task(name="add")(lambda x, y: x + y)
        app.conf.beat_schedule = {"a": entry()}
        with pytest.raises(OperationalError, match=r"does not let this client read and change schedules.*api_key"):
            synchronise(app)
        app.close()


def test_two_applications_share_a_namespace(app: Celery, temporal_address: str) -> None:
    other = Celery(f"{app.main}2", **{"ptemporal.address": temporal_address})
    other.task(name="add")(lambda x, y: x + y)
    app.conf.beat_schedule = {"a": entry()}
    other.conf.beat_schedule = {"a": entry(), "b": entry()}
    synchronise(app)
    synchronise(other)
    app.conf.beat_schedule = {}
    assert kinds(synchronise(app)) == {"a": "delete"}
    assert kinds(synchronise(other)) == {"a": "unchanged", "b": "unchanged"}
    other.conf.beat_schedule = {}
    synchronise(other)
    other.close()


def test_delete_waits_for_the_servers_list_so_that_a_schedule_can_be_made_again(app: Celery) -> None:
    id, looks = f"{app.main}/it's late", 0

    async def one() -> AsyncIterator[str]:
        yield id

    async def delete(client: Any) -> None:
        real = client.list_schedules

        async def lagging(query: str) -> Any:
            nonlocal looks
            looks += 1
            return one() if looks < 3 else await real(query)

        with mock.patch.object(client, "list_schedules", lagging):
            await delete_schedule(client, id)

    app.conf.beat_schedule = {"it's late": entry()}
    synchronise(app)
    wait_until(lambda: app.temporal.call(lambda client: is_listed(client, id), 20), 60, "the schedule in the list")
    app.temporal.call(delete, 20)
    assert looks >= 3
    assert kinds(synchronise(app)) == {"it's late": "create"}


def test_a_schedule_of_somebody_else_under_our_prefix_is_left_alone(app: Celery) -> None:
    from temporalio.client import Schedule, ScheduleActionStartWorkflow, ScheduleSpec

    async def create(client: Any) -> None:
        action = ScheduleActionStartWorkflow("w", id="w", task_queue="q")
        await client.create_schedule(f"{app.main}/theirs", Schedule(action, ScheduleSpec()))

    async def delete(client: Any) -> None:
        await client.get_schedule_handle(f"{app.main}/theirs").delete()

    app.temporal.call(create, 20)
    assert kinds(synchronise(app)) == {}
    app.conf.beat_schedule = {"mine": entry(), "theirs": entry()}
    with pytest.raises(OperationalError, match="was not made by the application"):
        synchronise(app)
    app.conf.beat_schedule = {"mine": entry()}
    assert kinds(synchronise(app, change=False)) == {"mine": "create"}
    app.temporal.call(delete, 20)


def test_several_processes_at_once_do_no_harm(app: Celery) -> None:
    app.conf.beat_schedule = {f"entry {number}": entry() for number in range(20)}
    with ThreadPoolExecutor(4) as threads:
        plans = list(threads.map(lambda _: synchronise(app), range(4)))
    assert all(len(plan.changes) == 20 for plan in plans)
    assert set(kinds(synchronise(app)).values()) == {"unchanged"}


def test_entries_come_from_handlers_and_from_a_callable(app: Celery) -> None:
    app.conf["ptemporal.schedules"] = f"{__name__}:from_a_table"

    @app.on_after_configure.connect
    def configured(sender: Celery, **kwargs: Any) -> None:
        sender.add_periodic_task(30, sender.tasks["add"].s(1, 1), name="after configure")

    @app.on_after_finalize.connect
    def finalized(sender: Celery, **kwargs: Any) -> None:
        sender.add_periodic_task(30, sender.tasks["add"].s(1, 1), name="after finalize")

    app.finalize()
    found = set(kinds(synchronise(app, change=False)))
    assert {"one row", "after finalize"} <= found


def from_a_table(app: Any) -> Iterator[dict[str, Any]]:
    """Stands for the rows of a table."""
    yield {"name": "one row", **entry()}
    yield {"name": "switched off", "enabled": False, **entry()}


def twice(app: Any) -> Iterator[dict[str, Any]]:
    yield {"name": "a", **entry()}
    yield {"name": "a", **entry()}


class Lunar(BaseSchedule):
    def remaining_estimate(self, last_run_at: dt.datetime) -> dt.timedelta:
        return dt.timedelta(days=28)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"task": "ad"}, "'ad' is not a task of this application.*nearest is 'add'"),
        ({"task": None}, "it has no task"),
        ({"schedule": 0}, "its interval is 0 seconds"),
        ({"schedule": -5}, "its interval is -5 seconds"),
        ({"schedule": 0.5}, "its interval is 0.5 seconds, .* make it 1 second, and let the task do its work several"),
        ({"schedule": float("nan")}, "its schedule is nan seconds; it takes 36,500 days at most"),
        ({"schedule": crontab(day_of_month=30, month_of_year=2)}, "day_of_month 30 never occurs in month_of_year 2"),
        ({"schedule": crontab(minute=[])}, "its minute has no number, so that it never fires"),
        ({"schedule": None}, "it has no schedule"),
        ({"schedule": [30]}, "it takes seconds, a timedelta, a crontab or a schedule"),
        ({"schedule": "0 3"}, "its schedule is '0 3'; as a text, it takes the five fields of a crontab"),
        ({"schedule": "99 3 * * *"}, "ValueError: Invalid "),
        ({"schedule": "*, 3 * * *"}, "ParseException: empty part"),
        ({"schedule": crontab(hour=3, nowfun=dt.datetime.now), "jitter": 5}, "it has jitter, and is_due.. of crontab"),
        ({"schedule": Lunar()}, "Lunar defines no is_due"),
        ({"schedule": schedule(60), "offset": 60}, "not shorter than its interval"),
        ({"offset": 60}, "a crontab has no offset"),
        ({"overlap": "never"}, "overlap = 'never'; it takes allow_all"),
        ({"pause_on_failure": True}, "needs an overlap other than allow_all"),
        ({"jitter": "1h"}, "jitter = '1h'; it takes seconds or a timedelta"),
        ({"catchup_window": -1}, "catchup_window = -1; it takes 0 seconds to 36,500 days"),
        ({"note": 5}, "note = 5; it takes a text"),
        ({"args": "all"}, "its args are 'all'; they take a tuple or a list, such as"),
        ({"kwargs": [1]}, r"its kwargs are \[1\]; they take a dict"),
        ({"canvas": 5}, "its canvas is 5; it takes a signature"),
        ({"workflow": "W", "task": None, "args": (object(),)}, "its args can't be sent"),
        ({"args": (object(), 1)}, "add"),
        ({"args": (1,)}, "add"),
        ({"options": {"eta": dt.datetime(2030, 1, 1)}}, "option eta: .*use countdown"),
        ({"options": {"task_id": "x"}}, "each firing is a task with an id of its own"),
        ({"options": {"expire": 5}}, "expire"),
        ({"shedule": 5}, "'shedule'; the nearest that an entry takes is 'schedule'"),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", str(value)),
)
def test_a_bad_entry_is_one_line_before_anything_changes(app: Celery, bad: dict[str, Any], why: str) -> None:
    app.conf.beat_schedule = {"a good one": entry(), "the bad one": entry(**bad)}
    with pytest.raises(ImproperlyConfigured, match=f"^periodic task 'the bad one': .*{why}") as caught:
        synchronise(app)
    assert "\n" not in str(caught.value)
    app.conf.beat_schedule = {"a good one": entry()}
    assert kinds(synchronise(app, change=False)) == {"a good one": "create"}


@pytest.mark.parametrize(
    ("setting", "given", "why"),
    [
        ("beat_schedule", [entry()], "beat_schedule is .*; it takes a dict of entries by their names"),
        ("timezone", "Mars/Base", "celery.timezone = 'Mars/Base' is no time zone"),
        ("ptemporal.schedules", f"{__name__}:away", r"has failed: RuntimeError: no database .*test_synchronise.py:\d+"),
        ("ptemporal.schedules", "nowhere:rows", "nowhere:rows has failed: ModuleNotFoundError"),
    ],
    ids=["no dict", "no zone", "a callable that fails", "no callable"],
)
def test_a_bad_setting_is_one_line(app: Celery, setting: str, given: Any, why: str) -> None:
    app.conf.beat_schedule = {"a": entry()}
    known = app.conf[setting]
    app.conf[setting] = given
    with pytest.raises(ImproperlyConfigured, match=why) as caught:
        synchronise(app)
    assert "\n" not in str(caught.value)
    app.conf[setting] = known


def away(app: Any) -> None:
    raise RuntimeError("no database")


def test_a_nameless_app_owns_schedules_by_a_setting(temporal_address: str) -> None:
    name = f"setting-{uuid.uuid4().hex[:8]}"
    nameless = Celery(**{"ptemporal.address": temporal_address, "ptemporal.application": name})
    nameless.task(name="add")(lambda x, y: x + y)
    nameless.conf.beat_schedule = {"a": entry()}
    (change,) = synchronise(nameless, change=False).changes
    assert change.id == f"{name}/a"
    nameless.close()


def test_a_name_that_is_used_twice_is_refused(app: Celery) -> None:
    app.conf["ptemporal.schedules"] = f"{__name__}:twice"
    with pytest.raises(ImproperlyConfigured, match="gives the name twice"):
        synchronise(app)
    app.conf["ptemporal.schedules"] = f"{__name__}:from_a_table"
    app.conf.beat_schedule = {"one row": entry()}
    with pytest.raises(ImproperlyConfigured, match="'one row': the name is used twice"):
        synchronise(app)
    app.conf["ptemporal.schedules"] = None
    app.conf.beat_schedule = {"a/b": entry(), "a:b": entry()}
    with pytest.raises(ImproperlyConfigured, match="rename one of the two"):
        synchronise(app)


def test_add_periodic_task_refuses_a_second_entry_of_the_same_name(app: Celery) -> None:
    add = app.tasks["add"]
    assert app.conf.beat_schedule == {}
    app.add_periodic_task(10, add.s(1, 1), name="tick")
    app.add_periodic_task(10, add.s(1, 1), name="tick")
    with pytest.raises(ImproperlyConfigured, match="'tick' is declared twice"):
        app.add_periodic_task(20, add.s(1, 1), name="tick")


@pytest.mark.parametrize("name", [None, "a/b"])
def test_an_app_without_a_name_of_its_own_owns_no_schedules(name: str | None) -> None:
    nameless = Celery(name)
    nameless.conf.beat_schedule = {}
    with pytest.raises(ImproperlyConfigured, match=r"set ptemporal[.]application, or write Celery"):
        synchronise(nameless)


def test_a_server_that_is_away_is_an_error_of_one_line() -> None:
    absent = Celery(f"away-{uuid.uuid4().hex[:8]}", **{"ptemporal.address": "localhost:1"})
    absent.conf.ptemporal_connect_timeout = 1
    with pytest.raises(OperationalError, match="connection refused"):
        synchronise(absent)
    absent.close()
