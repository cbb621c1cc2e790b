"""Control calls about tasks: revoke, rate limit, time limit, purge."""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyramid_temporal_compat import chain, signals, states
from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.client import task_actions
from pyramid_temporal_compat.control import process_state
from pyramid_temporal_compat.control import waiting_tasks as waiting
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, SoftTimeLimitExceeded, TaskRevokedError
from pyramid_temporal_compat.message.ids import workflow_of
from tests.parts import wait_until

Start = Callable[..., Any]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def wait(app: Celery, gate: threading.Event) -> Any:
    @app.task(name="shop.wait")
    def wait(number: int = 0) -> int:
        while not gate.is_set():
            time.sleep(0.005)  # short, so that an exception of the pool can be raised between two sleeps
        return number

    return wait


@pytest.fixture
def add(app: Celery) -> Any:
    @app.task(name="shop.add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


def runs(app: Celery, task_id: str) -> bool:
    return any(task_id in found for found in (app.control.inspect().query_task(task_id) or {}).values())


@contextlib.contextmanager
def listening(signal: signals.Signal) -> Iterator[None]:
    def receiver(**details: Any) -> None:
        pass

    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def revoked(result: Any) -> None:
    with pytest.raises(TaskRevokedError):
        result.get(timeout=60)
    assert result.state == states.REVOKED


# --- revoke ----------------------------------------------------------------------------------------------


def test_a_task_is_revoked_on_the_server_even_without_a_worker(app: Celery, add: Any) -> None:
    first, second = add.apply_async((1, 1), countdown=3600), add.apply_async((1, 1), countdown=3600)

    assert app.control.revoke([first.id, second.id]) is None

    revoked(first)
    revoked(second)


def server_status(app: Celery, task_id: str) -> str:
    async def ask(client: Any) -> Any:
        return (await client.get_workflow_handle(task_id).describe()).status

    return str(app.temporal.call(ask, 20).name)


def test_a_task_in_a_queue_that_no_worker_serves_is_ended_on_the_server(app: Celery, add: Any) -> None:
    alone, canvas = add.delay(1, 1), chain(add.si(1, 1), add.si(2, 2)).delay()

    app.control.revoke([alone.id, workflow_of(canvas.id) or canvas.id])

    revoked(alone)
    assert server_status(app, alone.id) == server_status(app, workflow_of(canvas.id) or canvas.id) == "TERMINATED"


def test_a_task_whose_worker_has_stopped_is_ended_on_the_server(
    app: Celery, start: Start, add: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start().stop()
    monkeypatch.setattr(task_actions, "TAKEN_BY_NOW", datetime.timedelta(0))
    waiting = add.delay(1, 1)

    app.control.revoke(waiting.id)

    revoked(waiting)
    assert server_status(app, waiting.id) == "TERMINATED"


def test_workers_remember_revoked_ids(app: Celery, start: Start, add: Any) -> None:
    worker = start()
    task_id = str(uuid.uuid4())

    (reply,) = app.control.revoke(task_id, reply=True) or []

    assert reply == {worker.hostname: {"ok": f"tasks {{'{task_id}'}} flagged as revoked"}}
    assert app.control.inspect().revoked() == {worker.hostname: [task_id]}


def test_a_task_that_is_sent_after_it_was_revoked_does_not_run(app: Celery, start: Start, add: Any) -> None:
    start()
    task_id = str(uuid.uuid4())
    app.control.revoke(task_id)

    revoked(add.apply_async((1, 1), task_id=task_id))
    assert add.delay(1, 2).get(timeout=60) == 3


def test_a_running_task_is_revoked_at_its_end_or_terminated_at_once(
    app: Celery, start: Start, wait: Any, gate: threading.Event
) -> None:
    worker = start()
    runs_on, stopped = wait.delay(1), wait.delay(2)
    wait_until(lambda: runs(app, runs_on.id) and runs(app, stopped.id))

    app.control.revoke(runs_on.id)
    (reply,) = app.control.revoke(stopped.id, terminate=True, reply=True) or []

    assert reply == {worker.hostname: {"ok": f"terminate: {stopped.id}"}}
    wait_until(lambda: not runs(app, stopped.id))
    assert runs(app, runs_on.id)
    revoked(stopped)
    gate.set()
    assert runs_on.get(timeout=60) == 1


def test_terminate_of_a_task_that_no_worker_runs(app: Celery, start: Start) -> None:
    worker = start()
    assert app.control.terminate("unknown", signal="KILL", reply=True) == [
        {worker.hostname: {"ok": "terminate: tasks unknown"}}
    ]


def test_the_terminate_command_stops_a_task_without_the_server(app: Celery, start: Start, wait: Any) -> None:
    worker = start()
    result = wait.delay()
    wait_until(lambda: runs(app, result.id))

    (reply,) = app.control.broadcast("terminate", {"signal": "TERM", "task_id": [result.id]}, reply=True) or []

    assert reply == {worker.hostname: {"ok": f"terminate: {result.id}"}}
    revoked(result)


def test_an_unknown_signal_is_an_error(app: Celery) -> None:
    with pytest.raises(ValueError, match="there is no signal 'SIGNONE' on this machine"):
        app.control.revoke("x", terminate=True, signal="SIGNONE")


def test_only_the_workers_of_the_destination_are_told(app: Celery, start: Start) -> None:
    first, _second = start("first"), start("second")
    (reply,) = app.control.revoke("x", destination=[first.hostname], reply=True) or []
    assert list(reply) == [first.hostname]


def test_the_set_of_revoked_ids_is_bounded() -> None:
    few = process_state.LimitedSet(maxlen=3)
    few.update("abcad")
    assert list(few) == ["c", "a", "d"]
    old = process_state.LimitedSet(expires=-1)
    old.add("a")
    assert list(old) == []
    few.discard("c")
    assert ("a" in few, "c" in few, len(few)) == (True, False, 2)


# --- stamps ------------------------------------------------------------------------------------------------


def stamped(task: Any, *args: Any, **stamps: Any) -> Any:
    return task.apply_async(args, headers={"stamped_headers": list(stamps), "stamps": stamps})


def test_tasks_with_a_revoked_stamp_do_not_run(app: Celery, start: Start, add: Any) -> None:
    worker = start()
    headers = {"customer": ["7", "8"]}

    (reply,) = app.control.revoke_by_stamped_headers(headers, reply=True) or []

    assert reply == {worker.hostname: {"ok": f"headers {headers} flagged as revoked, but not terminated"}}
    revoked(stamped(add, 1, 1, customer="7"))
    revoked(stamped(add, 1, 1, customer=["5", "8"], shop=1))
    revoked(add.apply_async((1, 1), headers={"stamped_headers": ["customer"], "customer": "8"}))
    assert stamped(add, 1, 1, customer="9").get(timeout=60) == 2
    assert stamped(add, 1, 1, shop="7").get(timeout=60) == 2


def test_running_tasks_with_a_revoked_stamp_are_terminated(
    app: Celery, start: Start, wait: Any, gate: threading.Event
) -> None:
    worker = start()
    stopped, other = stamped(wait, 1, customer="7"), stamped(wait, 2, customer="8")
    wait_until(lambda: runs(app, stopped.id) and runs(app, other.id))

    (none,) = app.control.revoke_by_stamped_headers({"shop": [1]}, terminate=True, reply=True) or []
    (reply,) = app.control.revoke_by_stamped_headers(["customer=7"], terminate=True, reply=True) or []

    assert none == {worker.hostname: {"ok": "headers {'shop': [1]} were not terminated"}}
    assert reply == {worker.hostname: {"ok": "headers {'customer': {'7'}} revoked"}}
    revoked(stopped)
    gate.set()
    assert other.get(timeout=60) == 2


# --- limits ------------------------------------------------------------------------------------------------


def test_a_rate_limit_holds_tasks_back_and_lets_others_pass(app: Celery, start: Start, add: Any) -> None:
    @app.task(name="shop.limited")
    def limited(number: int) -> int:
        return number

    worker = start(concurrency=2)
    replies = app.control.rate_limit("shop.limited", "1/h", reply=True)
    assert replies == [{worker.hostname: {"ok": "new rate limit set successfully"}}]

    assert limited.delay(1).get(timeout=60) == 1
    waiting = [limited.delay(n) for n in range(4)]

    assert add.delay(1, 2).get(timeout=60) == 3  # the waiting tasks do not occupy the two places of the pool
    assert {result.state for result in waiting} == {states.PENDING}
    assert "shop.limited [rate_limit=1/h]" in app.control.inspect().registered()[worker.hostname]


def test_tasks_that_were_held_back_run_in_their_turn(app: Celery, start: Start) -> None:
    @app.task(name="shop.limited", rate_limit="4/s")
    def limited(number: int) -> int:
        return number

    start(concurrency=2)
    assert [result.get(timeout=60) for result in [limited.delay(n) for n in range(4)]] == [0, 1, 2, 3]


def test_an_invalid_rate_limit_is_an_error_when_the_worker_starts(app: Celery, start: Start) -> None:
    app.task(name="shop.limited", rate_limit="many/s")(len)
    with pytest.raises(ImproperlyConfigured, match=r"task 'shop\.limited': rate_limit = 'many/s' is not a rate limit"):
        start()


def test_an_invalid_rate_limit_that_is_set_later_fails_the_task_once(app: Celery, start: Start, add: Any) -> None:
    start()
    add.rate_limit = "many/s"
    with pytest.raises(ValueError, match="is not a rate limit"):
        add.delay(1, 2).get(timeout=60)


def test_a_task_that_no_worker_knows_expires_though_someone_listens(app: Celery, start: Start) -> None:
    with listening(signals.task_revoked):
        result = app.send_task("shop.nobody_knows", expires=0.2)
        start()
        revoked(result)


def test_a_rate_limit_is_lifted(app: Celery, start: Start, add: Any) -> None:
    worker = start()
    app.control.rate_limit("shop.add", "1/h", reply=True)
    assert add.delay(1, 1).get(timeout=60) == 2  # the first of this hour

    replies = app.control.rate_limit("shop.add", 0, reply=True)

    assert replies == [{worker.hostname: {"ok": "rate limit disabled successfully"}}]
    assert [add.delay(1, n).get(timeout=60) for n in range(3)] == [1, 2, 3]


def test_an_at_most_once_task_waits_for_its_turn_in_the_worker(app: Celery, start: Start) -> None:
    @app.task(name="shop.once", acks_late=False, rate_limit="2/s")
    def once(number: int) -> int:
        return number

    start(concurrency=3)
    assert sorted(result.get(timeout=60) for result in [once.delay(n) for n in range(3)]) == [0, 1, 2]


def test_a_task_that_waits_for_its_turn_can_be_revoked(app: Celery, start: Start, add: Any) -> None:
    start()
    app.control.rate_limit("shop.add", "1/h", reply=True)
    assert add.delay(1, 1).get(timeout=60) == 2
    waiting = add.delay(1, 1)
    wait_until(lambda: waiting.state == states.PENDING)  # while the worker checks the rate limit, the task is STARTED

    app.control.revoke(waiting.id)

    revoked(waiting)


def test_rate_limits_can_be_disabled(app: Celery, start: Start) -> None:
    app.conf.worker_disable_rate_limits = True

    @app.task(name="shop.free", rate_limit="1/h")
    def free() -> None:
        pass

    start()
    for _ in range(2):
        free.delay().get(timeout=60)


def test_a_limit_for_an_unknown_task_and_an_invalid_limit_are_errors(app: Celery, start: Start, add: Any) -> None:
    worker = start()
    (unknown,) = app.control.rate_limit("shop.none", "1/s", reply=True) or []
    (wrong,) = app.control.rate_limit("shop.add", "1/fortnight", reply=True) or []
    assert unknown == {worker.hostname: {"error": "unknown task"}}
    assert wrong[worker.hostname]["error"].startswith("Invalid rate limit string: '1/fortnight' is not a rate limit")
    assert app.control.time_limit("shop.none", soft=1, reply=True) == [{worker.hostname: {"error": "unknown task"}}]


def test_a_time_limit_holds_for_the_runs_that_begin_after_it(app: Celery, start: Start, wait: Any) -> None:
    worker = start()

    replies = app.control.time_limit("shop.wait", soft=0.2, hard=60, reply=True)

    assert replies == [{worker.hostname: {"ok": "time limits set successfully"}}]
    with pytest.raises(SoftTimeLimitExceeded):
        wait.delay().get(timeout=60)


# --- purge -------------------------------------------------------------------------------------------------


def test_canvases_that_no_worker_has_run_yet_are_purged_and_listed(app: Celery, add: Any) -> None:
    delayed = add.apply_async((1, 1), countdown=3600, link=add.s(2))
    canvas = chain(add.s(1, 1), add.s(1))()
    queue = app.conf.task_default_queue

    def listed() -> list[str]:
        found = app.temporal.call(lambda client: waiting.DelayedTasks(client, lambda: [queue]).all(), 10)
        return [message.id for message in found]

    wait_until(lambda: listed() == [delayed.id])  # the server updates its list of workflows a moment later
    ended = 0

    def all_ended() -> bool:
        nonlocal ended
        ended += app.control.purge()
        return ended >= 2

    wait_until(all_ended)
    for result in (delayed, canvas, canvas.parent):
        revoked(result)
    assert app.control.purge() == 0


def test_purge_ends_waiting_tasks_and_leaves_running_tasks_alone(
    app: Celery, start: Start, wait: Any, add: Any, gate: threading.Event
) -> None:
    start(concurrency=1)
    running = wait.delay(1)
    wait_until(lambda: runs(app, running.id))
    waiting = [add.delay(1, 1), add.apply_async((1, 1), countdown=3600)]
    elsewhere = add.apply_async((1, 1), queue=f"{app.conf.task_default_queue}-2")

    ended = 0

    def all_ended() -> bool:
        nonlocal ended
        ended += app.control.purge()  # the server updates its list of workflows a moment later
        return ended >= len(waiting)

    wait_until(all_ended)
    assert ended == 2
    for result in waiting:
        revoked(result)
    gate.set()
    assert running.get(timeout=60) == 1
    assert elsewhere.state == states.PENDING
    assert app.control.discard_all() == 0
