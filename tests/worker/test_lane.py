"""Single tasks that run as standalone activities: the lane `activity`.

The shop has an outbox, receipts and encryption, because a task in this lane has all of them too.
"""

from __future__ import annotations

import base64
import datetime
import logging
import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pyramid.scripting import prepare
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from pyramid_temporal_compat import Celery, current_app, shared_task, states
from pyramid_temporal_compat.client import standalone
from pyramid_temporal_compat.control.task_changes import Watch
from pyramid_temporal_compat.control.waiting_tasks import DelayedTasks, queue_state
from pyramid_temporal_compat.enlist.dispatcher import start
from pyramid_temporal_compat.exceptions import OperationalError, TaskRevokedError
from pyramid_temporal_compat.message.lane import ACTIVITY, WORKFLOW
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.outbox import metadata
from pyramid_temporal_compat.server.embedded import EmbeddedServer
from pyramid_temporal_compat.worker.steps import hand_over
from tests.outbox.parts import without_dispatch
from tests.parts import fresh_database, wait_until
from tests.worker.shop import Shop, WorkerThread, gates, seen, write

PATIENCE = 60
SETTINGS = {
    "ptemporal.lane": "activity",
    "ptemporal.heartbeat_timeout": "2",
    "ptemporal.outbox": "dbsession",
    "ptemporal.receipts": "true",
    "ptemporal.encryption_keys": "k:" + base64.urlsafe_b64encode(os.urandom(32)).decode(),
}


@pytest.fixture(scope="module")
def running_shop(temporal_address: str, postgres: str) -> Iterator[Shop]:
    with fresh_database(postgres) as url:
        shop = Shop(temporal_address, url, **SETTINGS)
        metadata.create_all(shop.engine)
        with WorkerThread(shop.app, shop.queue, concurrency=8):
            assert shop.app.lane_choice.is_open(PATIENCE)
            yield shop
        shop.close()


@pytest.fixture
def idle_queue(shop: Shop) -> str:
    """Return the name of a queue that no worker serves."""
    return f"{shop.queue}-{uuid.uuid4().hex[:6]}"


def lanes_of(shop: Shop, task_id: str) -> set[str]:
    """Return where the server has something under the task's id."""

    async def ask(client: Client) -> set[str]:
        handles = {"workflow": client.get_workflow_handle(task_id), "activity": client.get_activity_handle(task_id)}
        found = set()
        for lane, handle in handles.items():
            try:
                await handle.describe()
                found.add(lane)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
        return found

    return shop.app.temporal.call(ask, PATIENCE)


def forget_the_lane(task_id: str) -> None:
    """Have this process read the task as a process does that has not sent it."""
    for support in standalone._support.values():
        support.lately.pop(task_id, None)


@shared_task
def add(x: int, y: int) -> int:
    write(f"{x} + {y}")
    return x + y


def test_a_single_task_is_an_activity_without_a_workflow(shop: Shop) -> None:
    result = add.delay(2, 3)
    assert result.get(timeout=PATIENCE) == 5
    assert shop.lines() == ["2 + 3"]
    assert lanes_of(shop, result.id) == {"activity"}


def test_another_process_reads_what_a_workflow_would_show(shop: Shop) -> None:
    sent = add.delay(2, 3)
    forget_the_lane(sent.id)
    result = shop.app.AsyncResult(sent.id)
    assert result.get(timeout=PATIENCE) == 5
    assert (result.state, result.name, result.queue, result.args) == (states.SUCCESS, add.name, shop.queue, [2, 3])
    assert result.worker is not None
    assert result.date_done is not None


@shared_task(bind=True)
def fails(self: Any) -> None:
    raise LookupError(self.request.id)


def test_a_failure_has_its_error_and_traceback(shop: Shop) -> None:
    result = fails.delay()
    with pytest.raises(LookupError, match=result.id):
        result.get(timeout=PATIENCE)
    assert result.state == states.FAILURE
    assert "raise LookupError" in str(result.traceback)


def test_the_relay_sends_a_row_in_the_lane_that_the_row_names(shop: Shop) -> None:
    with prepare(registry=shop.registry) as environment, environment["request"].tm, without_dispatch():
        result = add.delay(1, 1)
    assert result.get(timeout=PATIENCE) == 2
    assert lanes_of(shop, result.id) == {"activity"}


def test_a_message_that_is_sent_twice_starts_once(shop: Shop) -> None:
    message, _, _ = shop.app.message(add.name, (4, 4), {}, {}, add)
    sent = Message.decode(message.copy(lane=ACTIVITY).encode()[0].data, message.body)  # as an outbox row has it
    for _ in range(2):
        shop.app.temporal.call(lambda client: start(client, sent), PATIENCE)
    assert shop.app.AsyncResult(message.id).get(timeout=PATIENCE) == 8
    assert shop.lines() == ["4 + 4"]
    assert lanes_of(shop, message.id) == {"activity"}


def test_calls_that_need_a_workflow_take_it(shop: Shop) -> None:
    with_link = add.apply_async((1, 1), link=add.s(5))
    chosen = add.apply_async((1, 2), task_id=f"chosen-{uuid.uuid4()}")
    for result in (with_link, chosen):
        result.get(timeout=PATIENCE)
        assert lanes_of(shop, result.id) == {"workflow"}


@shared_task(bind=True, max_retries=None)
def retries(self: Any, step: int, queue: str | None = None, padding: str = "", **changes: Any) -> list[Any]:
    seen["steps"].append((step, self.request.retries, self.request.delivery_info["routing_key"]))
    if step == 0:
        raise self.retry(exc=LookupError("once more"), args=(1, queue, padding), kwargs={}, queue=queue, countdown=0.5)
    return [list(entry) for entry in seen["steps"]]


def test_a_retry_runs_in_the_same_activity(shop: Shop) -> None:
    result = retries.delay(0)
    wait_until(lambda: result.state == states.RETRY)
    assert "once more" in str(result.result)
    assert result.get(timeout=PATIENCE) == [[0, 0, shop.queue], [1, 1, shop.queue]]
    assert result.retries == 1
    assert lanes_of(shop, result.id) == {"activity"}


@pytest.mark.parametrize("changes", [{"padding": "x" * 5000}, {"queue": "other"}], ids=["large", "queue"])
def test_a_retry_that_the_activity_cant_make_goes_on_as_a_workflow(shop: Shop, changes: dict[str, str]) -> None:
    queue = f"{shop.queue}-other" if "queue" in changes else None
    result = retries.delay(0, queue, changes.get("padding", ""))
    wait_until(lambda: result.state == states.RETRY)
    with WorkerThread(shop.app, f"{shop.queue}-other", concurrency=1):
        assert result.get(timeout=PATIENCE) == [[0, 0, shop.queue], [1, 1, queue or shop.queue]]
    assert result.retries == 1
    assert lanes_of(shop, result.id) == {"activity", "workflow"}
    forget_the_lane(result.id)
    assert shop.app.AsyncResult(result.id).state == states.SUCCESS


def test_a_retry_in_a_workflow_keeps_the_difference_of_the_clocks() -> None:
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = datetime.timedelta(hours=1)
    sent = Message(add.name, "1", (), "items", expires=now + hour, sent=now - hour, ahead=3600.0, lane=ACTIVITY)
    unit, pause, _ = hand_over.retry_in_workflow(sent, 2.0, sent.envelope(), None)
    assert isinstance(unit, Message)
    assert (unit.lane, unit.expires, pause) == (WORKFLOW, sent.expires, 2.0)
    assert unit.sent is not None
    assert now - hour <= unit.sent < now  # the sender's clock is an hour behind the server's


@shared_task(bind=True)
def replaces_itself(self: Any) -> Any:
    write("replaced")
    return self.replace(add.s(1, 1) | add.s(10))


def test_a_replaced_task_goes_on_as_a_workflow(shop: Shop) -> None:
    result = replaces_itself.delay()
    assert result.get(timeout=PATIENCE) == 12
    assert shop.lines() == ["replaced", "1 + 1", "2 + 10"]
    assert lanes_of(shop, result.id) == {"activity", "workflow"}


@shared_task(bind=True, time_limit=0.5, acks_late=True, acks_on_timeout=False)
def dies_after_its_handing_over(self: Any) -> None:
    """Does what an attempt does that starts the workflow and then loses its worker."""
    seen["attempts"].append(self.request.id)
    message, _, _ = current_app.message(add.name, (3, 4), {}, {"task_id": self.request.id}, add)
    current_app.temporal.call(lambda client: start(client, message), PATIENCE)
    time.sleep(60)


def test_a_lost_attempt_that_had_started_the_workflow_is_not_made_again(shop: Shop) -> None:
    result = dies_after_its_handing_over.delay()
    assert result.get(timeout=PATIENCE) == 7
    wait_until(lambda: shop.app.temporal.call(lambda client: standalone.wait_for_end(client, result.id)) is None)
    assert seen["attempts"] == [result.id]


def test_a_delayed_task_is_listed_and_purged(shop: Shop, idle_queue: str) -> None:
    result = add.apply_async((1, 1), countdown=60, queue=idle_queue)
    assert result.state == states.PENDING
    assert lanes_of(shop, result.id) == {"activity"}
    other = add.apply_async((1, 1), queue=idle_queue)
    wait_until(lambda: waiting_in(shop, idle_queue) == 1)
    listed = wait_until(lambda: shop.app.temporal.call(lambda client: DelayedTasks(client, lambda: [idle_queue]).all()))
    assert [message.id for message in listed] == [result.id]
    shop.app.conf.task_default_queue = idle_queue
    try:
        assert shop.app.control.purge() == 2
    finally:
        shop.app.conf.task_default_queue = shop.queue
    assert result.state == other.state == states.REVOKED
    wait_until(lambda: waiting_in(shop, idle_queue) == 0)


def waiting_in(shop: Shop, queue: str) -> int:
    return shop.app.temporal.call(lambda client: queue_state(client, queue), PATIENCE).message_count


def test_a_countdown_is_kept(shop: Shop) -> None:
    due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    result = tells_the_time.apply_async(eta=due)
    assert datetime.datetime.fromisoformat(result.get(timeout=PATIENCE)) >= due - datetime.timedelta(seconds=0.1)
    assert lanes_of(shop, result.id) == {"activity"}


@shared_task
def tells_the_time() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


def test_a_task_that_expires_before_its_start_is_revoked(shop: Shop, idle_queue: str) -> None:
    result = add.apply_async((1, 1), expires=0.3, queue=idle_queue)
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=PATIENCE)
    assert result.state == states.REVOKED


def test_revoking_needs_no_worker(shop: Shop, idle_queue: str) -> None:
    result = add.apply_async((1, 1), queue=idle_queue)
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)


@shared_task(bind=True, max_retries=None)
def waits(self: Any, gate: str) -> str:
    self.update_state(state="HALFWAY", meta={"at": gate})
    gates[gate].pass_through()
    if gate == "retried":
        raise self.retry(countdown=0)
    return "done"


def test_progress_is_read_and_a_revoked_task_runs_to_its_end(shop: Shop) -> None:
    result = waits.delay("gate")
    gates["gate"].reached()
    wait_until(lambda: result.state == "HALFWAY")
    assert result.info == {"at": "gate"}
    result.revoke()
    assert not result.ready()
    gates["gate"].open()
    assert result.get(timeout=PATIENCE) == "done"


def test_a_task_revoked_while_it_runs_is_not_retried(shop: Shop) -> None:
    result = waits.delay("retried")
    gates["retried"].reached()
    result.revoke()
    gates["retried"].open()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)


def test_a_running_task_is_terminated(shop: Shop) -> None:
    result = waits.delay("terminated")
    gates["terminated"].reached()
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)


def test_a_task_revoked_before_it_is_sent_never_starts(shop: Shop) -> None:
    message, _, _ = shop.app.message(add.name, (6, 6), {}, {}, add)
    shop.app.control.revoke(message.id, destination=["nobody"])
    shop.app.temporal.call(lambda client: start(client, message.copy(lane=ACTIVITY)), PATIENCE)
    result = shop.app.AsyncResult(message.id)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert shop.lines() == []


def test_the_changes_of_a_task_are_seen(shop: Shop) -> None:
    watch = Watch(shop.app.temporal.call(itself))
    result = add.delay(1, 1)
    found: set[str] = set()

    def ended() -> bool:
        changes = shop.app.temporal.call(lambda client: watch.look())
        found.update(change.type for change in changes if change.id == result.id)
        return "task-succeeded" in found

    wait_until(ended)
    assert {"task-sent", "task-succeeded"} <= found


async def itself(client: Client) -> Client:
    return client


def test_a_forgotten_result_is_unknown(shop: Shop) -> None:
    result = add.delay(1, 1)
    result.get(timeout=PATIENCE)
    result.forget()
    wait_until(lambda: lanes_of(shop, result.id) == set())
    assert not result.exists()


def test_the_first_call_in_a_transaction_waits_for_no_server(shop: Shop) -> None:
    shop.app.close()  # the next call connects anew
    with prepare(registry=shop.registry) as environment, environment["request"].tm:
        first = add.delay(1, 1)
    assert shop.app.lane_choice.is_open(PATIENCE)
    with prepare(registry=shop.registry) as environment, environment["request"].tm:
        second = add.delay(2, 2)
    assert [first.get(timeout=PATIENCE), second.get(timeout=PATIENCE)] == [2, 4]
    assert [lanes_of(shop, result.id) for result in (first, second)] == [{"workflow"}, {"activity"}]


@pytest.mark.integration
def test_without_standalone_activities_tasks_take_the_workflow(caplog: pytest.LogCaptureFixture) -> None:
    off = ("--dynamic-config-value", "activity.enableStandalone=false")
    with EmbeddedServer(headless=True, extra_args=off) as server:
        app = Celery(f"lane-{uuid.uuid4().hex[:6]}", set_as_current=False)
        app.conf.update({"ptemporal.address": server.address, "ptemporal.lane": "activity"})
        task = app.task(name="lane.double")(lambda x: 2 * x)
        with caplog.at_level(logging.WARNING), WorkerThread(app, "celery"):
            assert [task.delay(x).get(timeout=PATIENCE) for x in (1, 2)] == [2, 4]
            # As if the server had taken them until now. The refused call may have arrived before, so it is not sent
            # as a workflow.
            app.temporal.call(standalone.support_of).takes_tasks = True
            with pytest.raises(OperationalError):
                task.delay(3)
            assert task.delay(4).get(timeout=PATIENCE) == 8
        app.close()
    warnings = [record.message for record in caplog.records if "takes no standalone activities" in record.message]
    assert len(warnings) == 1
