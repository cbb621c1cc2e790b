"""Tasks that ask to run again."""

from __future__ import annotations

import datetime
import threading
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.exceptions import MaxRetriesExceededError, NotSerializable, PayloadTooLarge, Reject, Retry
from tests.parts import wait_until
from tests.worker.shop import Shop, WorkerThread, describe, event_names, gates, seen, write

PATIENCE = 20


@shared_task(bind=True, max_retries=3)
def succeeds_at(self: Any, run: int, countdown: float = 0, **options: Any) -> list[int]:
    write(f"run {self.request.retries}")
    seen["retries"].append(self.request.retries)
    if self.request.retries < run:
        raise self.retry(exc=LookupError(f"run {self.request.retries}"), countdown=countdown, **options)
    return seen["retries"]


def test_the_same_arguments_are_retried_by_the_activity_alone(shop: Shop) -> None:
    result = succeeds_at.delay(3)
    assert result.get(timeout=PATIENCE) == [0, 1, 2, 3]
    assert shop.lines() == ["run 3"]
    # The server writes a start only after the last attempt, so the history is as long as without a retry.
    assert len(event_names(shop, result.id)) == 11


def test_attempts_count_as_retries_if_the_server_does_not_say_how_they_ended(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    describe_workflow = WorkflowHandle.describe

    async def refused_to_workers(handle: Any, **options: Any) -> Any:
        if threading.current_thread().name.startswith("worker-"):
            raise RPCError("not for this key", RPCStatusCode.PERMISSION_DENIED, b"")
        return await describe_workflow(handle, **options)

    monkeypatch.setattr(WorkflowHandle, "describe", refused_to_workers)
    assert succeeds_at.delay(2).get(timeout=PATIENCE) == [0, 1, 2]
    assert "they count as retries" in caplog.text


def test_more_retries_than_max_retries_raise_the_error_itself(shop: Shop) -> None:
    with pytest.raises(LookupError, match="run 3"):
        succeeds_at.delay(9).get(timeout=PATIENCE)
    assert seen["retries"] == [0, 1, 2, 3]
    assert shop.lines() == []


@shared_task(bind=True, max_retries=1)
def retries_for_no_error(self: Any) -> None:
    raise self.retry(countdown=0)


def test_more_retries_than_max_retries_with_no_error_say_so(shop: Shop) -> None:
    with pytest.raises(MaxRetriesExceededError, match="retries_for_no_error"):
        retries_for_no_error.delay().get(timeout=PATIENCE)


@shared_task(bind=True, max_retries=None)
def changes_what_it_runs(self: Any, step: int, queue: str | None = None) -> list[Any]:
    seen["steps"].append((step, self.request.retries, self.request.delivery_info["routing_key"]))
    if step == 1:
        raise self.retry(args=(2,), kwargs={"queue": queue}, countdown=0)
    if step == 2:
        raise self.retry(args=(3,), kwargs={}, queue=queue, countdown=0)
    if step == 3 and self.request.retries == 2:
        raise self.retry(countdown=0)  # the same again
    return [list(entry) for entry in seen["steps"]]


def test_arguments_and_queue_change_and_retries_count_over_all_kinds(shop: Shop) -> None:
    other = f"{shop.queue}-other"
    with WorkerThread(shop.app, other):
        result = changes_what_it_runs.delay(1, queue=other)
        assert result.get(timeout=PATIENCE) == [
            [1, 0, shop.queue],
            [2, 1, shop.queue],
            [3, 2, other],
            [3, 3, other],
        ]
    names = event_names(shop, result.id)
    assert names.count("ACTIVITY_TASK_SCHEDULED") == 2  # only the server can change the queue
    assert describe(shop, result.id).workflow_type == changes_what_it_runs.name


@shared_task(bind=True, max_retries=None)
def counts_in_its_arguments(self: Any, step: int, ballast: str = "") -> list[Any]:
    seen["steps"].append((step, len(ballast), self.request.retries))
    self.update_state(state="PROGRESS", meta=step)
    if step == 3 and not self.request.delivery_info["redelivered"]:
        raise Reject(requeue=True)
    if step == 6:
        raise self.retry(args=(7, "x" * 2000), countdown=0)
    if step == 8 and self.request.retries == 7:
        raise self.retry(countdown=0)  # the same again
    if step == 9:
        return [list(entry) for entry in seen["steps"]]
    raise self.retry(args=(step + 1,), countdown=0)


def test_a_task_that_counts_in_its_arguments_does_not_fill_its_history(shop: Shop) -> None:
    result = counts_in_its_arguments.delay(1)
    assert result.get(timeout=PATIENCE) == [
        *([1, 0, 0], [2, 0, 1], [3, 0, 2], [3, 0, 2], [4, 0, 3], [5, 0, 4], [6, 0, 5]),
        *([7, 2000, 6], [8, 0, 7], [8, 0, 8], [9, 0, 9]),
    ]
    assert result.retries == 9
    assert event_names(shop, result.id).count("ACTIVITY_TASK_SCHEDULED") == 2  # a large message goes into the history


@shared_task(bind=True, max_retries=None)
def changes_headers(self: Any) -> Any:
    if self.request.retries == 0:
        raise self.retry(headers={"colour": "red"}, countdown=0)
    return self.request.headers


def test_changed_headers_arrive(shop: Shop) -> None:
    assert changes_headers.delay().get(timeout=PATIENCE) == {"colour": "red"}


@shared_task(bind=True)
def retries_with(self: Any, what: str) -> str:
    if self.request.retries:
        return what
    if what == "object":
        raise self.retry(args=(threading.Lock(),), countdown=0)
    if what == "too much":
        raise self.retry(args=("x" * 1_700_000,), countdown=0)
    if what == "just enough":
        raise self.retry(args=("x" * 1_500_000,), countdown=0)
    if what == "option":
        raise self.retry(no_such_option=1, countdown=0)
    raise self.retry(queue="", countdown=0)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("object", NotSerializable),
        ("too much", PayloadTooLarge),
        ("option", ValueError),
        ("queue", ValueError),
    ],
)
def test_a_retry_that_cant_be_sent_fails_the_task(shop: Shop, what: str, error: type[Exception]) -> None:
    result = retries_with.delay(what)
    with pytest.raises(error):
        result.get(timeout=PATIENCE)
    assert event_names(shop, result.id).count("ACTIVITY_TASK_STARTED") == 1


def test_large_changed_arguments_travel(shop: Shop) -> None:
    assert retries_with.delay("just enough").get(timeout=PATIENCE) == "x" * 1_500_000


@shared_task(
    bind=True,
    autoretry_for=(LookupError,),
    dont_autoretry_for=(IndexError,),
    retry_kwargs={"countdown": 0},
    max_retries=2,
)
def retried_by_itself(self: Any, error: str) -> None:
    seen["auto"].append(self.request.retries)
    raise {"key": KeyError, "index": IndexError, "value": ValueError}[error](error)


def test_autoretry_retries_the_errors_that_it_names_and_no_others(shop: Shop) -> None:
    with pytest.raises(KeyError):
        retried_by_itself.delay("key").get(timeout=PATIENCE)
    assert seen.pop("auto") == [0, 1, 2]
    for error, name in ((IndexError, "index"), (ValueError, "value")):
        with pytest.raises(error):
            retried_by_itself.delay(name).get(timeout=PATIENCE)
        assert seen.pop("auto") == [0]


@shared_task(bind=True, max_retries=5)
def waits_for_its_retry(self: Any) -> str:
    if self.request.retries == 0:
        raise self.retry(exc=LookupError("not yet"), countdown=60)
    return "done"


def test_between_two_runs_the_state_is_retry_with_its_error(shop: Shop) -> None:
    result = waits_for_its_retry.delay()
    wait_until(lambda: result.state == "RETRY")
    assert (result.ready(), result.retries) == (False, 1)
    assert isinstance(result.result, Retry)
    assert "not yet" in str(result.result)
    result.revoke()
    wait_until(lambda: describe(shop, result.id).status.name == "CANCELED")
    assert result.state == "REVOKED"


@shared_task(bind=True)
def waits_for_its_changed_retry(self: Any, step: int = 0) -> str:
    raise self.retry(args=(step + 1,), countdown=60)


def test_between_two_different_runs_the_state_is_retry_too(shop: Shop) -> None:
    result = waits_for_its_changed_retry.delay()
    wait_until(lambda: result.state == "RETRY")
    result.revoke()
    wait_until(lambda: describe(shop, result.id).status.name == "CANCELED")
    assert result.state == "REVOKED"


@shared_task(bind=True, max_retries=None)
def reports_then_retries(self: Any, runs: int) -> int:
    self.update_state(state="PROGRESS", meta={"at": self.request.retries})
    if self.request.retries < runs:
        raise self.retry(countdown=0.01)
    return int(self.request.retries)


def test_retries_in_quick_succession_are_all_counted(shop: Shop) -> None:
    """Heartbeats are limited to one a second, but still carry every count."""
    assert reports_then_retries.delay(8).get(timeout=PATIENCE) == 8


def test_eta_of_a_retry_is_a_moment(shop: Shop) -> None:
    result = retries_at_a_moment.delay()
    assert result.get(timeout=PATIENCE) == 1


@shared_task(bind=True)
def retries_at_a_moment(self: Any) -> int:
    if self.request.retries == 0:
        raise self.retry(eta=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=0.1))
    return int(self.request.retries)


@shared_task(bind=True, acks_late=False)
def at_most_once_and_retried(self: Any, runs: int) -> int:
    if self.request.retries < runs:
        raise self.retry(countdown=0)
    return int(self.request.retries)


def test_at_most_once_tasks_retry_when_they_ask_to(shop: Shop) -> None:
    assert at_most_once_and_retried.delay(2).get(timeout=PATIENCE) == 2


@shared_task(bind=True)
def asks_without_raising(self: Any) -> str:
    write("gone" if self.request.retries == 0 else "kept")
    if self.request.retries == 0:
        self.retry(countdown=0, throw=False)
    return "returned"


def test_a_retry_that_is_not_raised_happens_when_the_function_returns(shop: Shop) -> None:
    assert asks_without_raising.delay().get(timeout=PATIENCE) == "returned"
    assert shop.lines() == ["kept"]


@shared_task(bind=True)
def revoked_while_it_runs_and_retries(self: Any, changes: dict[str, Any]) -> str:
    seen["runs"].append(self.request.retries)
    gates["retrying"].pass_through()
    raise self.retry(countdown=0, **changes)


@pytest.mark.parametrize("changes", [{}, {"headers": {"anew": True}}])
def test_a_task_revoked_while_it_runs_is_not_retried(shop: Shop, changes: dict[str, Any]) -> None:
    result = revoked_while_it_runs_and_retries.delay(changes)
    gates["retrying"].reached()
    result.revoke()
    wait_until(lambda: "WORKFLOW_EXECUTION_CANCEL_REQUESTED" in event_names(shop, result.id))
    gates["retrying"].open()
    wait_until(result.ready)
    assert result.state == "REVOKED"
    assert seen["runs"] == [0]


@shared_task(bind=True)
def retries_otherwise(self: Any, first: Any, second: Any, third: Any = None, *, again: dict[str, Any]) -> list[Any]:
    if self.request.retries:
        return [first, second, third]
    raise self.retry(countdown=0, **again)


@pytest.mark.parametrize(
    ("args", "kwargs", "again", "runs_with"),
    [
        ((), {"first": 1, "second": 2, "third": "kept"}, {"args": (3, 4)}, [3, 4, "kept"]),
        ((1, 2), {}, {"kwargs": {"first": 3}}, [3, 2, None]),
    ],
)
def test_arguments_of_a_retry_replace_arguments_given_by_position_or_by_name(
    shop: Shop, args: Any, kwargs: dict[str, Any], again: dict[str, Any], runs_with: list[Any]
) -> None:
    if "kwargs" in again:  # `again` itself is a keyword argument, which retry(kwargs=...) has to keep
        again = {"kwargs": {**again["kwargs"], "again": {}}}
    assert retries_otherwise.apply_async(args, {**kwargs, "again": again}).get(timeout=PATIENCE) == runs_with


@shared_task(bind=True)
def rejects_the_first_delivery(self: Any) -> str:
    if not self.request.delivery_info["redelivered"]:
        raise Reject(requeue=True)
    return "second"


def test_a_task_that_was_given_back_sees_that_it_is_redelivered(shop: Shop) -> None:
    assert rejects_the_first_delivery.delay().get(timeout=PATIENCE) == "second"


@shared_task(bind=True)
def sees_redelivery(self: Any) -> bool:
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return bool(self.request.delivery_info["redelivered"])


def test_a_retry_is_no_redelivery(shop: Shop) -> None:
    assert sees_redelivery.delay().get(timeout=PATIENCE) is False


@shared_task(bind=True)
def sees_properties(self: Any) -> Any:
    return self.request.properties


def test_a_message_carries_the_applications_own_properties(shop: Shop) -> None:
    result = sees_properties.apply_async(app_id="1234")
    properties = result.get(timeout=PATIENCE)
    assert properties["app_id"] == "1234"
    assert properties["correlation_id"] == result.id


def test_a_result_that_is_not_kept_is_not_waited_for(shop: Shop) -> None:
    result = sees_properties.apply_async(ignore_result=True)
    assert result.ignored
    assert result.get() is None
