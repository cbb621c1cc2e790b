"""Types of tasks that are paused: nothing of them starts until they are resumed, whichever way they were called."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyramid_temporal_compat.canvas import chain, group
from pyramid_temporal_compat.control import process_state
from pyramid_temporal_compat.control.paused_types import (
    PausedTypesReader,
    is_paused,
    pause,
    paused_types,
    resume,
    resume_type,
)
from pyramid_temporal_compat.observe.queues import report_queue
from pyramid_temporal_compat.schedules.sync import synchronise_app
from pyramid_temporal_compat.server import EmbeddedServer
from tests.control.conftest import RunningWorker
from tests.observe.office import Office
from tests.parts import wait_until


@pytest.fixture
def office(temporal_address: str) -> Iterator[Office]:
    found = Office(temporal_address, "paused")
    yield found
    process_state.paused_types.clear()
    found.app.close()


@pytest.fixture
def start(office: Office) -> Iterator[Callable[[], RunningWorker]]:
    started: list[RunningWorker] = []

    def start() -> RunningWorker:
        started.append(office.worker())
        return started[-1]

    yield start
    for worker in started:
        worker.stop()


def pause_known_to_the_worker(office: Office, name: str, reason: str = "") -> bool:
    """Pause a type. A worker that is too busy to answer reads the record later."""
    is_new = pause(office.app, name, reason)
    wait_until(lambda: name in process_state.paused_types, 60, "the worker's knowledge of the pause")
    return is_new


def waiting(office: Office, name: str) -> int:
    return sum(each.waiting for each in office.ask(paused_types) if each.name == name)


def test_paused_tasks_wait_through_a_restart_and_then_run_once(
    office: Office, start: Callable[[], RunningWorker]
) -> None:
    first = start()
    assert pause_known_to_the_worker(office, office.add.name, "the database is moved")
    assert not pause(office.app, office.add.name)
    pause_known_to_the_worker(office, office.once.name)
    single, once = office.add.delay(1), office.once.delay("x")
    members = group(office.add.s(2), office.notes.s("seen")).apply_async()
    steps = chain(office.add.s(3), office.add.s(4)).apply_async()
    office.ended(members.results[1])  # of another type
    wait_until(lambda: waiting(office, office.add.name) == 3, 60, "three workflows that wait")
    wait_until(lambda: waiting(office, office.once.name) == 1, 60, "the task that runs at most once")
    first.stop()
    process_state.paused_types.clear()
    start()  # a later worker reads the record
    later = office.add.delay(5)
    wait_until(lambda: waiting(office, office.add.name) == 4, 60, "four workflows that wait")
    assert office.ran == [("notes", "seen")]
    assert {row.state for row in office.rows(states=frozenset({"PENDING"}), name="*.add") if row.paused} == {"PENDING"}
    assert office.ask(lambda client: report_queue(client, office.queue)).paused == 5

    assert resume(office.app, office.add.name) == 4
    assert resume(office.app, office.once.name) == 1
    assert resume(office.app, office.once.name) is None
    assert [result.get(timeout=60) for result in (single, once, members.results[0], steps, later)] == [2, "x", 3, 8, 6]
    assert sorted(map(str, office.ran)) == sorted(set(map(str, office.ran))), "each has run once"
    assert single.retries in (0, None)


def test_a_task_that_is_a_standalone_activity_waits_too(office: Office, start: Callable[[], RunningWorker]) -> None:
    start()
    pause_known_to_the_worker(office, office.add.name)
    office.add.lane = "activity"
    result = office.add.delay(1)
    wait_until(lambda: waiting(office, office.add.name) == 1, 60, "the standalone activity that waits")
    assert office.ask(lambda client: client.count_workflows(f"WorkflowId = '{result.id}'")).count == 0
    assert (result.state, office.ran) == ("PENDING", [])
    assert resume(office.app, office.add.name) == 1
    assert result.get(timeout=60) == 2
    assert office.ran == [("add", 1, 1)]


def test_a_worker_that_nobody_told_resumes_by_itself(office: Office, start: Callable[[], RunningWorker]) -> None:
    start()
    pause_known_to_the_worker(office, office.add.name)
    result = office.add.delay(1)
    wait_until(lambda: waiting(office, office.add.name) == 1, 60, "the task that waits")
    assert office.ask(lambda client: resume_type(client, office.add.name))
    assert not office.ask(lambda client: is_paused(client, office.add.name))
    assert office.ask(lambda client: PausedTypesReader(client).read()) is None
    assert result.get(timeout=60) == 2


@pytest.mark.integration
def test_a_paused_task_waits_through_a_restart_of_the_server(tmp_path: Path) -> None:
    with EmbeddedServer(headless=True, database=tmp_path / "state.db") as server:
        office = Office(server.address, "restarted")
        worker = office.worker()
        try:
            pause_known_to_the_worker(office, office.add.name, "the server moves")
            result = office.add.delay(1)
            wait_until(lambda: waiting(office, office.add.name) == 1, 60, "the task that waits")
            server.kill()
            server.start()
            later = office.add.delay(2)
            wait_until(lambda: waiting(office, office.add.name) == 2, 60, "the task that was sent after the restart")
            assert office.ran == []
            assert resume(office.app, office.add.name) == 2
            assert [result.get(timeout=60), later.get(timeout=60)] == [2, 3]
        finally:
            worker.stop()
            office.app.close()


def test_paused_firings_wait_and_run_once_each(office: Office, start: Callable[[], RunningWorker]) -> None:
    """With `overlap` other than allow_all, a firing that waits is a run that goes on, so there is no second one."""
    start()
    for task in (office.notes, office.once):
        pause_known_to_the_worker(office, task.name)
    every_second = {"schedule": 1, "args": ("fired",)}
    office.app.conf.beat_schedule = {
        "all": {"task": office.notes.name, **every_second},
        "one": {"task": office.once.name, **every_second, "overlap": "skip"},
    }
    synchronise_app(office.app)
    wait_until(lambda: waiting(office, office.notes.name) >= 2, 60, "two firings that wait")
    wait_until(lambda: waiting(office, office.once.name) == 1, 60, "the only firing of the entry that skips")
    office.app.conf["beat_schedule"].clear()
    synchronise_app(office.app)
    assert office.ran == []
    resume(office.app, office.notes.name)
    assert resume(office.app, office.once.name) == 1
    wait_until(lambda: [row.state for row in office.rows()] == ["SUCCESS"] * len(office.ran), 60, "one run a firing")
    assert office.ran.count(("once", "fired")) == 1


def test_an_expired_task_does_not_run_after_its_pause(office: Office, start: Callable[[], RunningWorker]) -> None:
    start()
    pause_known_to_the_worker(office, office.add.name)
    expires = now() + datetime.timedelta(seconds=2)
    result = office.add.apply_async((1,), expires=expires)
    wait_until(lambda: waiting(office, office.add.name) == 1, 60, "the task that waits")
    wait_until(lambda: now() > expires, 60)
    resume(office.app, office.add.name)
    office.ended(result)
    assert (result.state, office.ran) == ("REVOKED", [])


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
