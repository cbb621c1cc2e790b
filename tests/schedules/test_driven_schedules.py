"""Schedules whose times only their class knows: a driver asks the class and fires them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.schedules import BaseSchedule, crontab, schedule, solar
from pyramid_temporal_compat.schedules.drivers import driver_id
from pyramid_temporal_compat.schedules.firing_times import is_driven
from pyramid_temporal_compat.worker.driven_schedules import fire
from tests.parts import wait_until
from tests.schedules.parts import firings, kinds, on_server, rewrite, synchronise
from tests.worker.shop import Gate, WorkerThread


class EveryNow(BaseSchedule):
    """Due `every` seconds after the last run, and asked again soon. Counts how often it was asked."""

    def __init__(self, every: float = 1, **more: Any) -> None:
        super().__init__(**more)
        self.every, self.asked, self.fails = every, 0, 0

    def is_due(self, last_run_at: dt.datetime) -> tuple[bool, float]:
        self.asked += 1
        if self.fails:
            self.fails -= 1
            raise LookupError("no moon today")
        left = self.every - (self.now() - last_run_at).total_seconds()
        return (True, self.every) if left <= 0 else (False, left)


def entry(schedule: Any, **more: Any) -> dict[str, Any]:
    return {"task": "add", "schedule": schedule, "args": (1, 2), **more}


def driver_status(app: Celery, name: str) -> WorkflowExecutionStatus | None:
    async def ask(client: Any) -> Any:
        return (await client.get_workflow_handle(driver_id(f"{app.main}/{name}")).describe()).status

    return app.temporal.call(ask, 20)


def test_a_class_with_times_of_its_own_fires_tasks_again_and_again(app: Celery, worker: WorkerThread) -> None:
    app.conf.beat_schedule = {"moon": entry(EveryNow(1))}
    assert kinds(synchronise(app)) == {"moon": "create"}
    ids = firings(app, "moon", least=3)
    assert len(set(ids)) == len(ids)
    assert app.AsyncResult(ids[0]).get(timeout=60) == 3
    assert kinds(synchronise(app)) == {"moon": "unchanged"}


def test_a_paused_entry_is_asked_and_not_fired(app: Celery, worker: WorkerThread) -> None:
    moon = EveryNow(1)
    app.conf.beat_schedule = {"moon": entry(moon)}
    synchronise(app)
    firings(app, "moon")
    rewrite(app, "moon", lambda held: setattr(held.schedule.state, "paused", True))
    asked = moon.asked
    wait_until(lambda: moon.asked > asked + 1, 60, "asked after the pause")
    before = firings(app, "moon")
    asked = moon.asked
    wait_until(lambda: moon.asked > asked + 1, 60, "asked again")
    assert firings(app, "moon") == before
    assert kinds(synchronise(app)) == {"moon": "unchanged"}
    rewrite(app, "moon", lambda held: setattr(held.schedule.state, "paused", False))
    firings(app, "moon", least=len(before) + 1)


def test_the_driver_ends_when_its_entry_is_no_longer_declared(app: Celery, worker: WorkerThread) -> None:
    app.conf.beat_schedule = {"moon": entry(EveryNow(1))}
    synchronise(app)
    firings(app, "moon")
    app.conf.beat_schedule = {}
    assert kinds(synchronise(app)) == {"moon": "delete"}
    wait_until(lambda: driver_status(app, "moon") is WorkflowExecutionStatus.COMPLETED, 60, "the driver has ended")


def test_the_driver_ends_when_the_server_can_keep_the_times(app: Celery, worker: WorkerThread) -> None:
    app.conf.beat_schedule = {"moon": entry(EveryNow(1))}
    synchronise(app)
    firings(app, "moon")
    app.conf.beat_schedule = {"moon": entry(86400)}
    assert kinds(synchronise(app)) == {"moon": "update"}
    wait_until(lambda: driver_status(app, "moon") is WorkflowExecutionStatus.COMPLETED, 60, "the driver has ended")


@pytest.mark.parametrize("each", [False, True])
def test_a_driver_that_somebody_has_ended_is_a_difference(app: Celery, worker: WorkerThread, each: bool) -> None:
    app.conf.beat_schedule = {"moon": entry(EveryNow(3600))}
    synchronise(app)

    async def terminate(client: Any) -> None:
        await client.get_workflow_handle(driver_id(f"{app.main}/moon")).terminate()

    app.temporal.call(terminate, 20)
    assert kinds(synchronise(app, change=False, look_at_each=each)) == {"moon": "update"}
    synchronise(app, look_at_each=each)
    assert driver_status(app, "moon") is WorkflowExecutionStatus.RUNNING
    assert kinds(synchronise(app, change=False)) == {"moon": "unchanged"}


def test_an_error_of_the_class_is_shown_and_it_is_asked_again(app: Celery, worker: WorkerThread) -> None:
    moon = EveryNow(1)
    moon.fails = 1_000_000
    app.conf.beat_schedule = {"moon": entry(moon)}
    synchronise(app)
    wait_until(lambda: "no moon today" in last_failure(app, "moon"), 60, "the error is shown")
    moon.fails = 0
    assert app.AsyncResult(firings(app, "moon")[0]).get(timeout=60) == 3


@pytest.mark.parametrize(
    "found",
    [
        schedule(1.5),
        schedule(1, nowfun=lambda: dt.datetime.now(dt.timezone.utc)),
        schedule(1, nowfun=dt.datetime.now),
    ],
    ids=["a fraction of a second", "a clock of its own", "a clock without a zone"],
)
def test_intervals_that_the_server_can_not_keep_are_driven(app: Celery, worker: WorkerThread, found: Any) -> None:
    app.conf.beat_schedule = {"odd": entry(found)}
    synchronise(app)
    assert len(set(firings(app, "odd", least=3))) >= 3
    assert not on_server(app, "odd").schedule.spec.intervals


def test_several_days_until_midnight_are_driven_and_one_day_is_not() -> None:
    app = Celery("days", set_as_current=False)
    assert is_driven(schedule(dt.timedelta(days=2), relative=True, app=app), app)
    assert not is_driven(schedule(dt.timedelta(days=1), relative=True, app=app), app)
    assert not is_driven(schedule(dt.timedelta(days=2), app=app), app)
    assert is_driven(crontab(nowfun=dt.datetime.now, app=app), app)


def test_a_run_that_goes_on_is_not_overlapped_if_the_entry_says_so(app: Celery) -> None:
    gate = Gate()
    app.task(name="holds")(gate.pass_through)
    app.conf.beat_schedule = {"moon": {"task": "holds", "schedule": EveryNow(1), "overlap": "skip"}}
    synchronise(app)
    with WorkerThread(app, str(app.main)):
        gate.reached()
        wait_until(lambda: on_server(app, "moon").info.num_actions_skipped_overlap > 0, 60, "a run is skipped")
        assert len(firings(app, "moon")) == 1
        gate.open()
        firings(app, "moon", least=2)


def test_an_entry_of_the_sun_is_driven(app: Celery, worker: WorkerThread) -> None:
    pytest.importorskip("ephem", reason="events of the sun need ephem")
    app.conf.beat_schedule = {"sunset": entry(solar("sunset", 48.2, 16.4))}
    assert kinds(synchronise(app)) == {"sunset": "create"}
    wait_until(lambda: timers(app, "sunset") > 0, 60, "the driver sleeps")
    assert driver_status(app, "sunset") is WorkflowExecutionStatus.RUNNING
    assert on_server(app, "sunset").info.num_actions == 0


def timers(app: Celery, name: str) -> int:
    async def ask(client: Any) -> int:
        history = await client.get_workflow_handle(driver_id(f"{app.main}/{name}")).fetch_history()
        return sum(event.HasField("timer_started_event_attributes") for event in history.events)

    return app.temporal.call(ask, 20)


def test_a_worker_that_does_not_declare_the_entry_leaves_it_to_another(app: Celery) -> None:
    app.conf.beat_schedule = {"moon": entry(EveryNow(1))}
    synchronise(app)
    declared = dict(app.conf.beat_schedule)
    app.conf["beat_schedule"].clear()
    with WorkerThread(app, str(app.main)):
        wait_until(lambda: "declares no periodic task 'moon'" in last_failure(app, "moon"), 60, "the failure is shown")
        app.conf["beat_schedule"].update(declared)
        firings(app, "moon")


def last_failure(app: Celery, name: str) -> str:
    async def ask(client: Any) -> str:
        found = await client.get_workflow_handle(driver_id(f"{app.main}/{name}")).describe()
        return " ".join(each.last_failure.message for each in found.raw_description.pending_activities)

    return app.temporal.call(ask, 20)


def test_an_activity_that_runs_twice_fires_once(app: Celery) -> None:
    app.conf.beat_schedule = {"night": entry(86400)}
    synchronise(app)
    at = dt.datetime(2026, 1, 1, 3, 0, 0, 123456, tzinfo=dt.timezone.utc)

    async def twice(client: Any) -> None:
        for _ in range(2):
            await fire(client, client.get_schedule_handle(f"{app.main}/night"), at)

    app.temporal.call(twice, 20)
    assert firings(app, "night") == [f"{app.main}:night-2026-01-01T03:00:00Z"]

    query = f"WorkflowId = '{app.main}:night-2026-01-01T03:00:00Z'"

    async def runs(client: Any) -> int:
        return len([run async for run in client.list_workflows(query)])

    wait_until(lambda: app.temporal.call(runs, 20) == 1, 60, "the run is listed")
