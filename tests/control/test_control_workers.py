"""Control calls about workers: their pool, their queues, their end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.control.receiver import Receiver
from tests.parts import wait_until

Start = Callable[..., Any]


@pytest.fixture
def add(app: Celery) -> Any:
    @app.task(name="shop.add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


def test_the_pool_grows_and_shrinks(app: Celery, start: Start) -> None:
    worker = start(concurrency=2)

    def size() -> int:
        found: int = app.control.inspect().stats()[worker.hostname]["pool"]["max-concurrency"]
        return found

    assert app.control.pool_grow(2, reply=True) == [{worker.hostname: {"ok": "pool will grow"}}]
    assert size() == 4
    assert app.control.pool_shrink(3, reply=True) == [{worker.hostname: {"ok": "pool will shrink"}}]
    assert size() == 1
    (refused,) = app.control.pool_shrink(reply=True) or []
    assert "at least 1 job at a time" in refused[worker.hostname]["error"]
    assert size() == 1


def test_a_pool_that_has_grown_runs_more_tasks_at_a_time(app: Celery, start: Start) -> None:
    together = threading.Barrier(3)

    @app.task(name="shop.meet")
    def meet() -> bool:
        together.wait(60)
        return True

    start(concurrency=1)
    app.control.pool_grow(2, reply=True)

    assert all(result.get(timeout=60) for result in [meet.delay() for _ in range(3)])


def test_autoscale_of_a_worker_without_autoscale_says_what_to_use(app: Celery, start: Start) -> None:
    worker = start()
    (reply,) = app.control.autoscale(10, 1, reply=True) or []
    assert "use pool_grow and pool_shrink" in reply[worker.hostname]["error"]


def test_a_worker_serves_one_more_queue(app: Celery, start: Start, add: Any, queue: str) -> None:
    worker = start()
    waiting = add.apply_async((1, 2), queue=f"{queue}-more")

    replies = app.control.add_consumer(f"{queue}-more", reply=True)

    assert replies == [{worker.hostname: {"ok": f"add consumer {queue}-more"}}]
    assert waiting.get(timeout=60) == 3
    names = [found["name"] for found in app.control.inspect().active_queues()[worker.hostname]]
    assert names == [queue, f"{queue}-more"]
    app.control.add_consumer(f"{queue}-more", reply=True)
    assert len(app.control.inspect().active_queues()[worker.hostname]) == 2


def test_a_dropped_queue_is_served_no_more_and_its_running_tasks_succeed(app: Celery, start: Start, queue: str) -> None:
    gate = threading.Event()

    @app.task(name="shop.wait")
    def wait() -> str:
        gate.wait(60)
        return "done"

    worker = start(queues=[queue, f"{queue}-other"])
    running = wait.delay()
    wait_until(lambda: app.control.inspect().active()[worker.hostname])

    replies = app.control.cancel_consumer(queue, reply=True)

    assert replies == [{worker.hostname: {"ok": f"no longer consuming from {queue}"}}]
    assert [found["name"] for found in app.control.inspect().active_queues()[worker.hostname]] == [f"{queue}-other"]
    gate.set()
    assert running.get(timeout=60) == "done"
    assert wait.apply_async(queue=f"{queue}-other").get(timeout=60) == "done"


def test_a_dropped_queue_can_be_served_again(app: Celery, start: Start, add: Any, queue: str) -> None:
    worker = start(queues=[queue, f"{queue}-other"])
    app.control.cancel_consumer(queue, reply=True)

    assert app.control.add_consumer(queue, reply=True) == [{worker.hostname: {"ok": f"add consumer {queue}"}}]

    assert add.delay(1, 2).get(timeout=60) == 3


def test_shutdown_ends_the_workers_that_it_names(app: Celery, start: Start) -> None:
    first, second = start("first"), start("second")

    assert app.control.shutdown(destination=[first.hostname], reply=True) == [{first.hostname: {"ok": "shutting down"}}]

    first.thread.join(60)
    assert not first.thread.is_alive()
    assert app.control.ping() == [{second.hostname: {"ok": "pong"}}]


def test_a_worker_that_ends_waits_for_its_tasks_and_still_answers(app: Celery, start: Start) -> None:
    gate = threading.Event()

    @app.task(name="shop.wait")
    def wait() -> str:
        gate.wait(60)
        return "done"

    worker = start()
    running = wait.delay()
    wait_until(lambda: app.control.inspect().active()[worker.hostname])

    assert app.control.shutdown() is None

    assert len(app.control.inspect().active()[worker.hostname]) == 1
    gate.set()
    assert running.get(timeout=60) == "done"
    worker.thread.join(60)
    assert not worker.thread.is_alive()


def test_a_second_worker_of_the_same_name_says_so(app: Celery, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        first = start()
        assert "is called" not in caplog.text
        start(hostname=first.hostname)
        wait_until(lambda: f"another worker is called {first.hostname} too" in caplog.text)
    assert "such as -n w2@%h" in caplog.text


def test_a_worker_whose_predecessor_of_the_same_name_has_ended_says_nothing(
    app: Celery, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyramid_temporal_compat.control.receiver.GREETING_TIMEOUT", 0.5)
    looked = threading.Event()
    look = Receiver._look_for_namesake

    async def watched(self: Receiver) -> None:
        await look(self)
        looked.set()

    first = start()
    first.stop()
    monkeypatch.setattr(Receiver, "_look_for_namesake", watched)
    start(hostname=first.hostname)
    assert looked.wait(30)
    assert "is called" not in caplog.text
