"""The state of a task while it waits, runs and has ended, and how to stop a task."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.client import task_actions
from pyramid_temporal_compat.enlist import dispatcher
from pyramid_temporal_compat.exceptions import TaskRevokedError
from pyramid_temporal_compat.exceptions import TimeoutError as NotInTime
from pyramid_temporal_compat.task.call_options import make_message
from tests.parts import wait_until
from tests.worker.shop import Shop, WorkerThread, add, describe, event_names, gates, seen, waits_at, write

PATIENCE = 20


def is_gone(shop: Shop, task_id: str) -> bool:
    return str(shop.app.AsyncResult(task_id).state) == "PENDING"


# --- states ------------------------------------------------------------------------------------------------


def test_a_task_in_its_delay_is_pending_and_no_worker_holds_it(shop: Shop) -> None:
    result = add.apply_async((1, 1), countdown=3600)
    assert (result.state, result.ready()) == ("PENDING", False)
    assert event_names(shop, result.id) == ["WORKFLOW_EXECUTION_STARTED"]
    result.revoke()
    assert result.state == "REVOKED"


def test_a_countdown_is_waited_for_and_an_eta_that_has_passed_is_not(shop: Shop) -> None:
    began = datetime.datetime.now(datetime.timezone.utc)
    assert tells_when.apply_async(countdown=1).get(timeout=PATIENCE) >= began + datetime.timedelta(seconds=1)
    assert tells_when.apply_async(eta=began - datetime.timedelta(days=1)).get(timeout=PATIENCE)


@shared_task
def tells_when() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def test_a_queued_task_is_pending_until_a_worker_serves_its_queue(shop: Shop) -> None:
    queue = f"{shop.queue}-later"
    result = add.apply_async((1, 2), queue=queue)
    assert result.state == "PENDING"
    with WorkerThread(shop.app, queue):
        assert result.get(timeout=PATIENCE) == 3
    assert (result.state, result.queue, result.name) == ("SUCCESS", queue, add.name)


def test_a_running_task_is_started_and_says_where(shop: Shop) -> None:
    result = waits_at.delay("states")
    gates["states"].reached()
    wait_until(lambda: result.state == "STARTED")
    assert result.worker is not None
    assert result.worker.startswith("celery@")
    assert (result.ready(), result.successful(), result.failed(), result.date_done) == (False, False, False, None)
    gates["states"].open()
    assert result.get(timeout=PATIENCE) == "done"
    assert (result.state, result.ready(), result.successful()) == ("SUCCESS", True, True)
    assert result.date_done is not None


def test_the_states_on_the_way_of_a_task_never_go_back(shop: Shop) -> None:
    result = waits_at.delay("way")
    gates["way"].open()
    way: list[str] = []
    while not way or way[-1] != "SUCCESS":
        state = str(add.AsyncResult(result.id).state)
        if not way or way[-1] != state:
            way.append(state)
    assert way in (["PENDING", "STARTED", "SUCCESS"], ["PENDING", "SUCCESS"], ["STARTED", "SUCCESS"], ["SUCCESS"])


@shared_task(bind=True)
def reports(self: Any) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    gates["report"].pass_through()
    self.update_state(state="PROGRESS", meta={"done": 2, "of": 2})
    gates["report again"].pass_through()
    return "done"


def test_progress_is_read_while_the_task_runs_and_costs_no_history(shop: Shop) -> None:
    result = reports.delay()
    gates["report"].reached()
    wait_until(lambda: result.state == "PROGRESS")
    assert result.info == {"done": 1, "of": 2}
    gates["report"].open()
    wait_until(lambda: result.info == {"done": 2, "of": 2})
    gates["report again"].open()
    assert result.get(timeout=PATIENCE) == "done"
    assert len(event_names(shop, result.id)) == 11


def test_forgetting_a_running_task_ends_it(shop: Shop) -> None:
    result = waits_at.delay("forgotten")
    gates["forgotten"].reached()
    result.forget()
    wait_until(lambda: is_gone(shop, result.id))
    gates["forgotten"].open()


def test_get_waits_for_a_task_that_is_not_there_yet(shop: Shop) -> None:
    result = add.AsyncResult(f"later-{shop.queue}")
    with pytest.raises(NotInTime):
        result.get(timeout=0.2)
    add.apply_async((2, 2), task_id=result.id)
    assert result.get(timeout=PATIENCE, interval=0.05) == 4


# --- revoking ------------------------------------------------------------------------------------------------


def test_revoked_while_no_worker_serves_its_queue(shop: Shop) -> None:
    queue = f"{shop.queue}-nobody"
    result = waits_at.apply_async(["nobody"], queue=queue)
    result.revoke()
    wait_until(lambda: result.state == "REVOKED")
    with pytest.raises(TaskRevokedError):
        waits_at.AsyncResult(result.id).get(timeout=5)
    with WorkerThread(shop.app, queue):
        wait_until(lambda: describe(shop, result.id).status.name in ("CANCELED", "TERMINATED"))
    assert "ACTIVITY_TASK_SCHEDULED" not in event_names(shop, result.id)
    assert waits_at.AsyncResult(result.id).state == "REVOKED"


def test_revoked_shortly_before_its_start(shop: Shop) -> None:
    result = add.apply_async((1, 1), countdown=1)
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert result.state == "REVOKED"
    assert "ACTIVITY_TASK_SCHEDULED" not in event_names(shop, result.id)


def test_revoked_while_it_runs_it_runs_to_its_end(shop: Shop) -> None:
    result = waits_at.delay("revoked")
    gates["revoked"].reached()
    result.revoke()
    wait_until(lambda: "WORKFLOW_EXECUTION_CANCEL_REQUESTED" in event_names(shop, result.id))
    gates["revoked"].open()
    assert result.get(timeout=PATIENCE) == "done"
    assert result.state == "SUCCESS"
    assert shop.lines() == ["at revoked"]


def test_terminated_while_it_runs_it_is_stopped_and_rolled_back(shop: Shop) -> None:
    result = stopped_in.delay("terminated")
    gates["terminated"].reached()
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert result.state == "REVOKED"
    wait_until(lambda: seen["stopped"])
    assert shop.lines() == []


@shared_task
def stopped_in(gate: str) -> None:
    write("gone")
    try:
        gates[gate].pass_through()
    finally:
        seen["stopped"].append(True)


def test_revoking_a_task_that_has_ended_does_nothing(shop: Shop) -> None:
    result = add.delay(1, 1)
    assert result.get(timeout=PATIENCE) == 2
    result.revoke()
    result.revoke(terminate=True)
    assert add.AsyncResult(result.id).state == "SUCCESS"


@pytest.mark.parametrize("terminate", [False, True])
def test_a_task_that_is_revoked_before_it_comes_does_not_run(shop: Shop, terminate: bool) -> None:
    task_id = f"early-{uuid.uuid4()}"
    add.AsyncResult(task_id).revoke(terminate=terminate)
    assert add.AsyncResult(task_id).state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        add.apply_async((1, 1), task_id=task_id).get(timeout=PATIENCE)


def test_a_task_that_comes_as_it_is_revoked_does_not_run_either(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    message = make_message(shop.app, add.name, (1, 1), {}, {"queue": shop.queue}, add).copy(eta=later)
    original = task_actions.workflow_with

    async def comes_now(client: Any, task_id: str) -> str | None:
        found = await original(client, task_id)
        await dispatcher.start(client, message)
        return found

    monkeypatch.setattr(task_actions, "workflow_with", comes_now)
    add.AsyncResult(message.id).revoke()
    assert describe(shop, message.id).workflow_type == add.name
    with pytest.raises(TaskRevokedError):
        add.AsyncResult(message.id).get(timeout=PATIENCE)


def test_a_task_that_is_revoked_while_it_runs_is_still_seen_to_run(shop: Shop) -> None:
    result = waits_at.delay("revoked")
    gates["revoked"].reached()
    result.revoke()
    wait_until(lambda: "WORKFLOW_EXECUTION_CANCEL_REQUESTED" in event_names(shop, result.id))
    assert result.state == "STARTED"
    gates["revoked"].open()
    assert result.get(timeout=PATIENCE) == "done"


def test_the_backend_shows_a_stored_result(shop: Shop) -> None:
    kept, ignored = add.delay(1, 2), add.apply_async((1, 2), ignore_result=True)
    assert kept.get(timeout=PATIENCE) == 3
    wait_until(lambda: add.AsyncResult(ignored.id).ready())
    assert shop.app.backend.get_task_meta(kept.id)["result"] == 3
    assert shop.app.backend.get_state(kept.id) == "SUCCESS"
    assert shop.app.backend.get_task_meta(ignored.id)["status"] == "PENDING"


@shared_task(bind=True, max_retries=1, default_retry_delay=0)
def tells_its_stamps(self: Any, *args: Any, **kwargs: Any) -> Any:
    if not self.request.retries:
        raise self.retry()
    return self.request.stamped_headers, self.request.stamps


@shared_task(bind=True, max_retries=1, default_retry_delay=0)
def fails_after_a_retry(self: Any) -> None:
    raise self.retry(exc=ValueError("twice"))


def test_a_result_knows_how_the_task_was_called_and_where_it_ran(shop: Shop) -> None:
    headers = {"stamped_headers": ["batch"], "stamps": {"batch": ["b1"]}}
    result = tells_its_stamps.apply_async((1, {"two"}), {"key": 3}, headers=headers)
    assert result.get(timeout=PATIENCE) == [["batch"], {"batch": ["b1"]}]
    again = shop.app.AsyncResult(result.id)
    assert (again.args, again.kwargs, again.retries) == ([1, {"two"}], {"key": 3}, 1)
    assert again.worker
    assert again.worker.startswith("celery@")
    failed = fails_after_a_retry.delay()
    assert isinstance(failed.get(timeout=PATIENCE, propagate=False), ValueError)
    assert (failed.retries, failed.traceback is not None) == (1, True)
    unknown = shop.app.AsyncResult("never-sent")
    assert (unknown.args, unknown.kwargs, unknown.worker, unknown.retries) == (None, None, None, 0)
    eager = tells_its_stamps.apply((1,))
    assert (eager.args, eager.worker, eager.retries) == (None, None, 0)
