"""Hand-written workflows beside tasks, and tasks and workflows that a worker does not know."""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest

from pyramid_temporal_compat.exceptions import NotRegistered, TaskRevokedError
from pyramid_temporal_compat.worker.steps import admission
from pyramid_temporal_compat.worker.worker import Worker
from tests.parts import wait_until
from tests.worker.native import Greets, greeting, plain_greeting
from tests.worker.shop import Shop, WorkerThread, add, describe, event_names

PATIENCE = 20


@pytest.fixture
def queue(shop: Shop) -> str:
    return f"{shop.queue}-{uuid.uuid4().hex[:6]}"


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server soon offers a task again that a worker does not know."""
    monkeypatch.setattr(admission, "UNKNOWN_PAUSE", timedelta(milliseconds=50))


def start(shop: Shop, workflow: str, argument: Any, queue: str) -> str:
    workflow_id = uuid.uuid4().hex
    shop.app.temporal.call(
        lambda client: client.start_workflow(workflow, argument, id=workflow_id, task_queue=queue), PATIENCE
    )
    return workflow_id


def result(shop: Shop, workflow_id: str) -> Any:
    return shop.app.temporal.call(lambda client: client.get_workflow_handle(workflow_id).result(), PATIENCE)


def test_native_workflows_and_activities_run_beside_tasks(shop: Shop, queue: str) -> None:
    with WorkerThread(shop.app, queue, workflows=[Greets], activities=[greeting, plain_greeting]):
        started = start(shop, "Greets", "you", queue)
        task = add.apply_async((1, 2), queue=queue)
        assert result(shop, started) == ["hello you", "plain hello you"]
        assert task.get(timeout=PATIENCE) == 3


def test_native_workflow_that_a_worker_does_not_know_waits_for_another_worker(
    shop: Shop, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    with WorkerThread(shop.app, queue):
        started = start(shop, "Greets", "you", queue)
        wait_until(lambda: "neither a task's nor registered" in caplog.text)
        assert describe(shop, started).status.name == "RUNNING"
        assert "Traceback" not in caplog.text
    with WorkerThread(shop.app, queue, workflows=[Greets], activities=[greeting, plain_greeting]):
        assert result(shop, started) == ["hello you", "plain hello you"]


def test_a_task_that_no_worker_knows_waits_and_is_logged_once(
    shop: Shop, queue: str, caplog: pytest.LogCaptureFixture, hurried: None
) -> None:
    name = f"tests.deployed_later_{uuid.uuid4().hex[:6]}"
    waiting = shop.app.send_task(name, [2, 3], queue=queue)
    with WorkerThread(shop.app, queue):
        wait_until(lambda: any(it.attempt > 3 for it in describe(shop, waiting.id).raw_description.pending_activities))
        wait_until(lambda: waiting.state == "PENDING")  # it is STARTED while a worker looks for the task
        assert waiting.retries == 0
    with caplog.at_level(logging.INFO):
        told = [record for record in caplog.records if name in record.getMessage() and record.levelno >= logging.ERROR]
    assert len(told) == 1
    assert "is not registered in this worker" in told[0].getMessage()
    assert "add the module to ptemporal.include" in told[0].getMessage()
    shop.app.task(name=name)(lambda x, y: x * y)
    try:
        with WorkerThread(shop.app, queue):
            assert waiting.get(timeout=PATIENCE) == 6
    finally:
        shop.app.tasks.unregister(name)


def test_a_task_that_no_worker_knows_fails_if_the_setting_says_so(
    shop: Shop, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(shop.app.conf, "ptemporal_unknown_task", "fail")
    with WorkerThread(shop.app, queue):
        failed = shop.app.send_task("tests.not_there", queue=queue)
        with pytest.raises(NotRegistered, match=r"tests\.not_there.*ptemporal\.include"):
            failed.get(timeout=PATIENCE)
        assert failed.state == "FAILURE"
        assert event_names(shop, failed.id).count("ACTIVITY_TASK_STARTED") == 1


def test_a_task_that_no_worker_knows_expires(shop: Shop, queue: str, hurried: None) -> None:
    waiting = shop.app.send_task("tests.not_there", queue=queue, expires=1)
    with WorkerThread(shop.app, queue), pytest.raises(TaskRevokedError, match="expired"):
        waiting.get(timeout=PATIENCE)


def test_an_activity_that_only_another_worker_knows_runs_there(shop: Shop, queue: str) -> None:
    """A worker without the native activity may get it first. In the end, the worker that knows it runs it."""
    with (
        WorkerThread(shop.app, queue, workflows=[Greets], activities=[greeting, plain_greeting]),
        WorkerThread(shop.app, queue, workflows=[Greets]),
    ):
        for started in [start(shop, "Greets", str(number), queue) for number in range(3)]:
            assert len(result(shop, started)) == 2


def test_worker_serves_several_queues_and_a_busy_one_does_not_starve_another(shop: Shop, queue: str) -> None:
    with WorkerThread(shop.app, queue, f"{queue}-b", concurrency=1):
        busy = [add.apply_async((number, 0), queue=queue) for number in range(30)]
        other = add.apply_async((1, 1), queue=f"{queue}-b")
        assert other.get(timeout=PATIENCE) == 2
        ended_before = sum(
            describe(shop, task.id).close_time < describe(shop, other.id).close_time
            for task in busy
            if task.get(timeout=PATIENCE) is not None
        )
    assert ended_before < 30


def test_a_pool_that_does_not_exist_is_an_error(shop: Shop) -> None:
    with pytest.raises(Exception, match="pool 'gevent' is refused: it replaces the sockets"):
        Worker(shop.app, pool="gevent")
