"""What a failed task shows: in Temporal's web UI, and between two attempts."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from temporalio.api.failure.v1 import Failure

from pyramid_temporal_compat import chain, shared_task
from pyramid_temporal_compat.exceptions import Retry
from pyramid_temporal_compat.message.ids import workflow_of
from tests.parts import wait_until
from tests.worker.shop import Shop, describe, events

SERVERS_LIMIT = 4096
"""Bytes of a pending activity's failure. The server replaces a larger one."""


def raise_from_the_depth(depth: int, text: str) -> None:
    if depth:
        raise_from_the_depth(depth - 1, text)
    raise ValueError(text)


@shared_task
def fails(depth: int) -> None:
    raise_from_the_depth(depth, "no such parcel")


@shared_task(bind=True)
def retries(self: Any, depth: int, text: str) -> None:
    try:
        raise_from_the_depth(depth, text)
    except ValueError as error:
        raise self.retry(exc=error, countdown=60) from error


def failures(shop: Shop, workflow_id: str) -> list[Failure]:
    """Return the failures in a history, that of the workflow last."""
    kinds = ("activity_task_failed_event_attributes", "workflow_execution_failed_event_attributes")
    found = [(event, kind) for event in events(shop, workflow_id) for kind in kinds if event.HasField(kind)]
    return [getattr(event, kind).failure for event, kind in found]


def chained(failure: Failure) -> list[Failure]:
    return [failure, *(chained(failure.cause) if failure.HasField("cause") else ())]


def is_the_tasks_own(stack: str) -> bool:
    return "raise_from_the_depth" in stack and not names_the_way(stack)


def names_the_way(stack: str) -> bool:
    return "temporalio" in stack or "pyramid_temporal_compat/" in stack


# --- in the web UI ---------------------------------------------------------------------------------------


def test_a_failed_task_shows_its_own_traceback(shop: Shop) -> None:
    result = fails.delay(1)
    wait_until(result.ready)
    activity, workflow = failures(shop, result.id)
    for failure in (activity, workflow):
        assert failure.message == "no such parcel"
        assert all(is_the_tasks_own(each.stack_trace) for each in chained(failure))


def test_a_failed_canvas_shows_the_traceback_of_the_task_that_failed(shop: Shop) -> None:
    result = chain(fails.si(1), fails.si(2)).delay()
    wait_until(result.ready)
    workflow = failures(shop, workflow_of(result.id) or result.id)[-1]
    assert "fails" in workflow.message
    assert all(is_the_tasks_own(each.stack_trace) for each in chained(workflow))


def test_a_task_that_never_ran_shows_no_stack(shop: Shop) -> None:
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=0.3)
    result = fails.apply_async((1,), queue=f"{shop.queue}-nobody", expires=soon)
    sent = fails.apply_async((1,), countdown=1, expires=0.1)
    wait_until(sent.ready)
    assert sent.state == "REVOKED"
    (workflow,) = failures(shop, sent.id)
    assert (workflow.stack_trace, workflow.message.startswith("expired")) == ("", True)
    result.revoke()


# --- between two attempts --------------------------------------------------------------------------------


def pending_failure(shop: Shop, task_id: str) -> Failure:
    def ask() -> Any:
        pending = describe(shop, task_id).raw_description.pending_activities
        return pending[0].last_failure if pending and pending[0].HasField("last_failure") else None

    failure: Failure = wait_until(ask)
    return failure


@pytest.mark.parametrize(
    ("depth", "text"),
    [(1, "not yet"), (30, "not yet"), (1, "long " * 5000), (30, "\N{SNOWMAN}" * 5000)],
    ids=["short", "a long traceback", "a long text", "both"],
)
def test_a_task_that_waits_for_its_retry_is_in_retry(shop: Shop, depth: int, text: str) -> None:
    result = retries.delay(depth, text)
    failure = pending_failure(shop, result.id)
    assert failure.ByteSize() < SERVERS_LIMIT
    assert "raise_from_the_depth" in failure.stack_trace
    assert "temporalio" not in failure.stack_trace
    assert (result.state, result.retries) == ("RETRY", 1)
    assert isinstance(result.result, Retry)
    assert text[:20] in str(result.result)
    assert "raise_from_the_depth" in str(result.traceback)
    result.revoke()


def test_a_failure_that_the_server_has_replaced_is_still_read_as_a_retry(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("ERROR_LIMIT", "TRACEBACK_LIMIT", "REASON_LIMIT"):
        monkeypatch.setattr(f"pyramid_temporal_compat.worker.attempt_end.{limit}", 100_000)
    result = retries.delay(30, "long " * 500)
    assert pending_failure(shop, result.id).message == "Failure exceeds size limit."
    assert result.state == "RETRY"
    assert "long long" in str(result.result)
    result.revoke()
