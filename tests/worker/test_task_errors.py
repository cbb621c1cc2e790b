"""How a failed task's error comes back."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.exceptions import (
    Ignore,
    InvalidArguments,
    InvalidTaskError,
    Reject,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
)
from pyramid_temporal_compat.exceptions import TimeoutError as NotInTime
from tests.parts import wait_until
from tests.worker.shop import Shop, add, event_names, gates, seen, waits_at, write

PATIENCE = 20


class OutOfStock(Exception):
    """An error whose arguments do not fit its `__init__`."""

    def __init__(self, item: str, *, left: int) -> None:
        super().__init__(f"{item} is out of stock")
        self.item = item
        self.left = left


class HoldsALock(Exception):
    pass


class BadStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@shared_task
def fails(kind: str) -> None:
    if kind == "plain":
        raise ValueError("wrong", 42)
    if kind == "own":
        raise OutOfStock("tea", left=3)
    if kind == "lock":
        raise HoldsALock(threading.Lock())
    if kind == "str":
        raise BadStr
    if kind == "exit":
        raise SystemExit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "generator":
        raise GeneratorExit
    if kind == "stop":
        raise StopIteration
    if kind == "huge":
        raise ValueError("x" * 5_000_000)
    if kind == "cause":
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error


def error_of(kind: str) -> BaseException:
    error: BaseException = fails.delay(kind).get(timeout=PATIENCE, propagate=False)
    return error


def test_error_is_of_its_own_class_with_its_arguments(shop: Shop) -> None:
    error = error_of("plain")
    assert (type(error), error.args) == (ValueError, ("wrong", 42))
    own = error_of("own")
    assert isinstance(own, OutOfStock)
    assert (str(own), own.item, own.left) == ("tea is out of stock", "tea", 3)


def test_error_is_raised_by_get_and_given_by_result(shop: Shop) -> None:
    result = fails.delay("plain")
    with pytest.raises(ValueError, match="42"):
        result.get(timeout=PATIENCE)
    again = fails.AsyncResult(result.id)
    assert (again.state, again.failed(), again.successful(), again.ready()) == ("FAILURE", True, False, True)
    assert again.result.args == ("wrong", 42)
    assert again.get(timeout=PATIENCE, propagate=False).args == ("wrong", 42)


def test_traceback_begins_in_the_applications_code(shop: Shop) -> None:
    result = fails.delay("plain")
    with pytest.raises(ValueError, match="42"):
        result.get(timeout=PATIENCE)
    lines = (result.traceback or "").splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "test_task_errors.py" in lines[1]
    assert lines[1].endswith("in fails")
    assert lines[-1] == "ValueError: ('wrong', 42)"
    assert "pyramid_temporal_compat" not in result.traceback.replace("pyramid_temporal_compat.exceptions", "")


def test_cause_comes_too(shop: Shop) -> None:
    error = error_of("cause")
    assert isinstance(error.__cause__, KeyError)
    assert error.__cause__.args == ("first",)


def test_error_that_cant_be_serialised_keeps_its_class_and_words(shop: Shop) -> None:
    error = error_of("lock")
    assert isinstance(error, HoldsALock)
    assert "lock" in str(error)
    assert isinstance(error_of("str"), BadStr)


def test_error_that_is_too_large_is_shortened(shop: Shop) -> None:
    error = error_of("huge")
    assert isinstance(error, ValueError)
    assert len(str(error)) < 100_000


def test_system_exit_fails_the_task_and_not_the_worker(shop: Shop) -> None:
    error = error_of("exit")
    # An Exception of the same name: if get() raised SystemExit itself, it would end the caller's process.
    assert type(error).__name__ == "SystemExit"
    assert isinstance(error, Exception)
    assert add.delay(1, 1).get(timeout=PATIENCE) == 2


@pytest.mark.parametrize(
    ("kind", "name"), [("interrupt", "KeyboardInterrupt"), ("generator", "GeneratorExit"), ("stop", "StopIteration")]
)
def test_a_base_exception_fails_the_task_once(shop: Shop, kind: str, name: str) -> None:
    result = fails.delay(kind)
    assert type(result.get(timeout=PATIENCE, propagate=False)).__name__ == name
    assert result.state == "FAILURE"
    assert event_names(shop, result.id).count("ACTIVITY_TASK_STARTED") == 1


@shared_task
async def is_cancelled() -> None:
    raise asyncio.CancelledError


def test_coroutine_that_was_cancelled_fails_its_task(shop: Shop) -> None:
    error = is_cancelled.delay().get(timeout=PATIENCE, propagate=False)
    assert type(error).__name__ == "CancelledError"


def test_failure_is_not_tried_again(shop: Shop) -> None:
    result = fails.delay("plain")
    result.get(timeout=PATIENCE, propagate=False)
    assert event_names(shop, result.id).count("ACTIVITY_TASK_STARTED") == 1


def test_get_gives_up_in_time_and_the_task_goes_on(shop: Shop) -> None:
    result = waits_at.delay("late")
    gates["late"].reached()
    with pytest.raises(NotInTime, match=r"waits_at\[.*has not ended within 0.2 s"):
        result.get(timeout=0.2)
    gates["late"].open()
    assert result.get(timeout=PATIENCE) == "done"


def test_unknown_task_id_is_pending(shop: Shop) -> None:
    result = add.AsyncResult("no-such-task")
    assert (result.state, result.ready(), result.result, result.traceback) == ("PENDING", False, None, None)


# --- arguments that do not fit -----------------------------------------------------------------------


@shared_task(name="by-name")
def takes_two(x: int, y: int) -> int:
    return x + y


def test_arguments_sent_by_name_that_do_not_fit_fail_the_task(shop: Shop) -> None:
    result = shop.app.send_task("by-name", [1])
    with pytest.raises(InvalidArguments, match="by-name"):
        result.get(timeout=PATIENCE)


def test_body_that_holds_no_arguments_fails_the_task(shop: Shop) -> None:
    from pyramid_temporal_compat.message.body import WHOLE
    from pyramid_temporal_compat.payload import Payload
    from pyramid_temporal_compat.task.call_options import make_message

    body = Payload({"encoding": b"json/plain", WHOLE: b"1"}, b"[1, 2]")
    message = make_message(shop.app, "by-name", (1, 2), {}, {}, None).copy(body=(body,))
    shop.app.dispatcher.send([message])
    with pytest.raises(InvalidTaskError, match="holds no arguments"):
        shop.app.AsyncResult(message.id).get(timeout=PATIENCE)


# --- ends that are no results ----------------------------------------------------------------------------


@shared_task(bind=True)
def ends_as(self: Any, how: str) -> None:
    write("gone")
    seen["ends"].append(how)
    if how == "ignore":
        raise Ignore
    if how == "requeue" and len(seen["ends"]) == 1:
        raise Reject("not now", requeue=True)
    if how == "reject":
        raise Reject("never")


def test_ignored_task_has_no_result_and_its_transaction_is_rolled_back(shop: Shop) -> None:
    result = ends_as.delay("ignore")
    wait_until(result.ready)
    assert result.state == "IGNORED"
    assert result.get(timeout=PATIENCE) is None
    assert shop.lines() == []


def test_rejected_task_fails_and_a_requeued_one_runs_again(shop: Shop) -> None:
    with pytest.raises(Reject):
        ends_as.delay("reject").get(timeout=PATIENCE)
    seen.clear()
    requeued = ends_as.delay("requeue")
    assert requeued.get(timeout=PATIENCE) is None
    assert (requeued.state, seen["ends"]) == ("SUCCESS", ["requeue", "requeue"])
    assert shop.lines() == ["gone"]


# --- limits -----------------------------------------------------------------------------------------------


@shared_task(soft_time_limit=0.2)
def runs_past_its_soft_limit() -> str:
    write("gone")
    try:
        gates["soft"].pass_through()
    except SoftTimeLimitExceeded:
        return "cleaned up"
    return "never"


@shared_task
def runs_until_stopped(gate: str) -> None:
    write("gone")
    gates[gate].pass_through()


def test_soft_time_limit_is_raised_in_the_function(shop: Shop) -> None:
    assert runs_past_its_soft_limit.delay().get(timeout=PATIENCE) == "cleaned up"
    with pytest.raises(SoftTimeLimitExceeded):
        runs_until_stopped.apply_async(["never"], soft_time_limit=0.2).get(timeout=PATIENCE)
    assert shop.lines() == ["gone"]


def test_time_limit_stops_the_task(shop: Shop) -> None:
    result = runs_until_stopped.apply_async(["never"], time_limit=0.2)
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=PATIENCE)
    assert event_names(shop, result.id).count("ACTIVITY_TASK_STARTED") == 1
    assert shop.lines() == []


# --- expiry ------------------------------------------------------------------------------------------------


def test_expired_before_it_could_start_is_revoked(shop: Shop) -> None:
    result = add.apply_async((1, 1), expires=0.5, queue="nobody-serves-this", countdown=0)
    in_the_past = add.apply_async((1, 1), expires=0)
    with pytest.raises(TaskRevokedError, match="expired"):
        in_the_past.get(timeout=PATIENCE)
    assert in_the_past.state == "REVOKED"
    assert "ACTIVITY_TASK_SCHEDULED" not in event_names(shop, in_the_past.id)
    assert result.state == "PENDING"
    result.revoke(terminate=True)


def test_expires_after_its_start_has_no_effect(shop: Shop) -> None:
    result = waits_at.apply_async(["expiry"], expires=1)
    gates["expiry"].reached()
    assert not gates["never"]._open.wait(1.1)  # the expiry has to pass
    gates["expiry"].open()
    assert result.get(timeout=PATIENCE) == "done"
