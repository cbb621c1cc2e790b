"""One task on a real server: its workflow, its request, its transaction."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import sqlalchemy.exc
import transaction
from pyramid.threadlocal import get_current_registry, get_current_request
from sqlalchemy import select, text
from temporalio.client import WorkflowExecutionStatus

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, NotSerializable, PayloadTooLarge
from pyramid_temporal_compat.worker.worker import Worker
from tests.parts import wait_until
from tests.worker.shop import Account, Line, Shop, ShopRequest, add, describe, event_names, events, gates, seen, write

PATIENCE = 20


def result_of(called: Any) -> Any:
    return called.get(timeout=PATIENCE)


def error_of(called: Any) -> BaseException:
    error: BaseException = called.get(timeout=PATIENCE, propagate=False)
    assert isinstance(error, BaseException)
    return error


# --- the workflow --------------------------------------------------------------------------------------


def test_workflow_has_the_tasks_name_and_id_and_one_readable_activity(shop: Shop) -> None:
    result = add.apply_async((2, 3), task_id=f"add-{shop.queue}")
    assert result_of(result) == 5
    found = describe(shop, f"add-{shop.queue}")
    assert (found.workflow_type, found.task_queue) == ("tests.worker.shop.add", shop.queue)
    assert found.status is WorkflowExecutionStatus.COMPLETED
    history = events(shop, result.id)
    scheduled = [event for event in history if event.HasField("activity_task_scheduled_event_attributes")]
    assert len(scheduled) == 1
    attributes = scheduled[0].activity_task_scheduled_event_attributes
    assert (attributes.activity_type.name, attributes.task_queue.name) == ("tests.worker.shop.add", shop.queue)
    for event in (history[0], scheduled[0]):
        assert event.user_metadata.summary.data == b'"tests.worker.shop.add(2, 3)"'


def test_history_has_no_more_events_than_a_workflow_with_one_activity_needs(shop: Shop) -> None:
    result = add.delay(1, 1)
    result_of(result)
    assert event_names(shop, result.id) == [
        "WORKFLOW_EXECUTION_STARTED",
        *("WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"),
        *("ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"),
        *("WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"),
        "WORKFLOW_EXECUTION_COMPLETED",
    ]


@shared_task(bind=True, ignore_result=True)
def forgets_its_result(self: Any) -> object:
    write("ran")
    return object()  # can't be serialised, and need not be


def test_ignored_result_is_none_and_need_not_be_serialisable(shop: Shop) -> None:
    assert result_of(forgets_its_result.delay()) is None  # at once, because there is nothing to wait for
    wait_until(lambda: shop.lines() == ["ran"])


@shared_task
def ten() -> int:
    return 10


def test_result_is_ignored_if_the_call_says_so(shop: Shop) -> None:
    assert result_of(ten.apply_async(ignore_result=True)) is None
    assert result_of(forgets_its_result.apply_async(ignore_result=True)) is None
    assert result_of(ten.delay()) == 10


# --- the request ---------------------------------------------------------------------------------------


@shared_task(bind=True)
def looks_at_its_request(self: Any) -> dict[str, Any]:
    request = self.pyramid_request
    seen["requests"].append(request)
    return {
        "factory": type(request).__name__,
        "current": get_current_request() is request and get_current_registry() is request.registry,
        "method": request.greet("you"),
        "reified": request.token is request.token,
        "begun": request.tm._txn is not None,
        "not the thread's": request.tm is not transaction.manager,
        "active": [request.environ.get("tm.active"), request.environ.get("tm.manager") is request.tm],
        "read": request.dbsession.scalar(text("select 1")),
    }


def test_task_has_a_real_request_of_the_application(shop: Shop) -> None:
    assert result_of(looks_at_its_request.delay()) == {
        "factory": ShopRequest.__name__,
        "current": True,
        "method": "hello you",
        "reified": True,
        "begun": True,
        "not the thread's": True,
        "active": [True, True],
        "read": 1,
    }
    result_of(looks_at_its_request.delay())
    first, second = seen["requests"]
    assert first is not second
    assert first.token is not second.token
    assert first.dbsession is not second.dbsession
    assert "tm.active" not in first.environ


@shared_task(bind=True)
def called_plainly(self: Any, depth: int) -> bool:
    return self.pyramid_request is get_current_request() and (depth == 0 or called_plainly(depth - 1))


@shared_task(bind=True)
def calls_another(self: Any) -> bool:
    return called_plainly(2) and self.pyramid_request is get_current_request()


def test_a_plain_call_within_a_task_sees_the_tasks_request(shop: Shop) -> None:
    assert result_of(calls_another.delay()) is True
    assert result_of(called_plainly.delay(3)) is True


@shared_task(bind=True)
def one_of_many(self: Any, number: int) -> list[bool]:
    request = self.pyramid_request
    session, manager = request.dbsession, request.tm
    seen["together"].append((request, session, manager.get(), session.connection().connection.dbapi_connection))
    write(f"line {number}")
    session.flush()
    lines = list(session.scalars(select(Line.text)))
    gates["together"].pass_through()
    return [
        self.pyramid_request is request and get_current_request() is request,
        request.dbsession is session and request.tm is manager,
        self.request.args == [number] or self.request.args == (number,),
        lines == [f"line {number}"],
    ]


def test_twenty_tasks_at_a_time_share_nothing(shop: Shop) -> None:
    results = [one_of_many.delay(number) for number in range(20)]
    gates["together"].reached(20)
    gates["together"].open()
    for result in results:
        assert result_of(result) == [True] * 4
    for column in zip(*seen["together"], strict=True):
        assert len({id(part) for part in column}) == 20
    assert sorted(shop.lines()) == sorted(f"line {number}" for number in range(20))


@shared_task(bind=True)
async def asynchronous(self: Any, number: int, fail: bool = False) -> list[bool]:
    request = self.pyramid_request
    write(f"async {number}")
    await asyncio.sleep(0)
    same = [self.pyramid_request is request, get_current_request() is request, self.request.id is not None]
    nested = await asyncio.create_task(_request_in_a_task_of_the_loop())
    if fail:
        raise LookupError(number)
    return [*same, nested is request]


async def _request_in_a_task_of_the_loop() -> Any:
    return asynchronous.pyramid_request


def test_async_tasks_have_a_request_and_a_transaction(shop: Shop) -> None:
    results = [asynchronous.delay(number) for number in range(5)]
    failing = asynchronous.delay(99, fail=True)
    for result in results:
        assert result_of(result) == [True] * 4
    assert error_of(failing).args == (99,)
    assert sorted(shop.lines()) == [f"async {number}" for number in range(5)]


# --- the transaction -----------------------------------------------------------------------------------


@shared_task
def writes(line: str, once: str | None = None) -> str:
    write(line, once)
    return line


@shared_task
def writes_and_fails(line: str) -> None:
    write(line)
    get_current_request().dbsession.flush()
    writes.delay("asked for by the failed one")
    raise LookupError(line)


def test_a_task_commits(shop: Shop) -> None:
    assert result_of(writes.delay("kept")) == "kept"
    assert shop.lines() == ["kept"]


def test_a_failing_task_rolls_back_and_the_tasks_that_it_called_do_not_start(shop: Shop) -> None:
    assert error_of(writes_and_fails.delay("gone")).args == ("gone",)
    assert result_of(writes.delay("after")) == "after"
    assert shop.lines() == ["after"]


@shared_task(bind=True)
def dooms(self: Any, line: str) -> str:
    write(line)
    writes.delay("asked for by the doomed one")
    self.pyramid_request.tm.doom()
    return line


def test_a_doomed_transaction_is_aborted_and_the_task_succeeds(shop: Shop) -> None:
    result = dooms.delay("gone")
    assert result_of(result) == "gone"
    assert result.state == "SUCCESS"
    assert result_of(writes.delay("after")) == "after"
    assert shop.lines() == ["after"]


def test_a_task_whose_commit_fails_has_failed(shop: Shop) -> None:
    assert result_of(writes.delay("first", once="me")) == "first"
    result = writes.delay("second", once="me")
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="duplicate key"):
        result.get(timeout=PATIENCE)
    assert result.state == "FAILURE"
    assert shop.lines() == ["first"]


@shared_task(bind=True)
def leaves_callbacks(self: Any, fail: bool = False, callback_fails: bool = False) -> None:
    request = self.pyramid_request
    write("with callbacks")

    def finished(request: Any) -> None:
        with request.registry["engine"].connect() as connection:
            seen["lines at finish"].append(connection.execute(text("select count(*) from lines")).scalar())
        seen["current at finish"].append(get_current_request() is request)
        if callback_fails:
            raise RuntimeError("this callback fails")

    request.add_finished_callback(finished)
    if fail:
        raise LookupError


def test_finished_callbacks_run_after_the_commit(shop: Shop) -> None:
    result_of(leaves_callbacks.delay())
    assert (seen["lines at finish"], seen["current at finish"]) == ([1], [True])


def test_finished_callbacks_run_after_a_failure(shop: Shop) -> None:
    assert isinstance(error_of(leaves_callbacks.delay(fail=True)), LookupError)
    assert (seen["lines at finish"], seen["current at finish"]) == ([0], [True])


def test_a_failing_finished_callback_is_logged_and_does_not_undo_the_task(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    result = leaves_callbacks.delay(callback_fails=True)
    assert result_of(result) is None
    assert result.state == "SUCCESS"
    assert shop.lines() == ["with callbacks"]
    assert "this callback fails" in caplog.text


@shared_task(bind=True)
def uses_the_connection(self: Any) -> None:
    self.pyramid_request.dbsession.scalar(text("select 1"))


def test_sessions_are_closed_and_connections_go_back(shop: Shop) -> None:
    for result in [uses_the_connection.delay() for _ in range(5)]:
        result_of(result)
    assert shop.engine.pool.checkedout() == 0


# --- transient database errors ---------------------------------------------------------------------------


@shared_task(bind=True)
def moves_money(self: Any, gate: str, conflicts: int) -> int:
    """Read one account and write the other, while another transaction does the opposite: a write skew."""
    session = self.pyramid_request.dbsession
    session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
    seen[gate].append(self.pyramid_request)
    ahead = session.get(Account, "a").balance
    write(f"attempt {len(seen[gate])}")
    writes.delay(f"asked for in attempt {len(seen[gate])}")
    if len(seen[gate]) <= conflicts:
        rival_transaction(self.pyramid_request.registry["engine"])
    session.get(Account, "b").balance = ahead
    return len(seen[gate])


def rival_transaction(engine: Any) -> None:
    with engine.execution_options(isolation_level="SERIALIZABLE").begin() as connection:
        balance = connection.scalar(text("select balance from accounts where id = 'b'"))
        connection.execute(text("update accounts set balance = :to where id = 'a'"), {"to": balance + 1})


@pytest.fixture
def accounts(shop: Shop) -> Shop:
    with shop.session() as session:
        session.add_all([Account(id="a", balance=1), Account(id="b", balance=2)])
        session.commit()
    return shop


def test_a_serialisation_failure_is_tried_again_at_once_with_a_fresh_request(accounts: Shop) -> None:
    result = moves_money.delay("skew", conflicts=2)
    assert result_of(result) == 3
    assert len({id(request) for request in seen["skew"]}) == 3
    assert event_names(accounts, result.id).count("ACTIVITY_TASK_STARTED") == 1
    assert result.retries == 0
    wait_until(lambda: len(accounts.lines()) >= 2)
    assert accounts.lines() == ["attempt 3", "asked for in attempt 3"]


def test_a_serialisation_failure_fails_the_task_after_the_last_attempt(accounts: Shop) -> None:
    error = error_of(moves_money.delay("skew", conflicts=9))
    assert isinstance(error, sqlalchemy.exc.OperationalError)
    assert "could not serialize access" in str(error)
    assert len(seen["skew"]) == 3 == accounts.app.conf.ptemporal_transaction_attempts
    assert accounts.lines() == []


@shared_task(bind=True)
def meets_a_conflict_that_it_marks(self: Any) -> int:
    from pyramid_retry import mark_error_retryable

    seen["marked"].append(self.pyramid_request)
    write(f"attempt {len(seen['marked'])}")
    if len(seen["marked"]) < 2:
        error = LookupError("once more")
        mark_error_retryable(error)
        raise error
    return len(seen["marked"])


def test_an_error_that_pyramid_retry_calls_retryable_is_tried_again(shop: Shop) -> None:
    assert result_of(meets_a_conflict_that_it_marks.delay()) == 2
    assert shop.lines() == ["attempt 2"]


# --- results that can't travel ---------------------------------------------------------------------------


@shared_task
def returns_an_object() -> object:
    write("gone")
    return threading.Lock()


def test_a_result_that_cant_be_serialised_fails_the_task_and_rolls_back(shop: Shop) -> None:
    error = error_of(returns_an_object.delay())
    assert isinstance(error, NotSerializable)
    assert "returns_an_object" in str(error)
    assert "lock" in str(error)
    assert shop.lines() == []


@shared_task
def returns_much(size: int) -> str:
    write("much")
    return "x" * size


@pytest.mark.parametrize("size", [2 * 1024 * 1024, 8 * 1024 * 1024])
def test_a_result_over_the_limit_fails_the_task_and_rolls_back(shop: Shop, size: int) -> None:
    result = returns_much.delay(size)
    error = error_of(result)
    assert isinstance(error, PayloadTooLarge)
    assert "returns_much" in str(error)
    assert "ptemporal.payload_limit" in str(error)
    assert event_names(shop, result.id).count("ACTIVITY_TASK_STARTED") == 1
    assert shop.lines() == []


def test_a_result_just_under_the_limit_travels(shop: Shop) -> None:
    size = shop.app.conf.ptemporal_payload_limit - 100
    assert len(result_of(returns_much.delay(size))) == size


def test_a_worker_whose_limit_is_above_the_servers_says_so_and_does_not_start(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(shop.app.conf, "ptemporal_payload_limit", 64 * 1024 * 1024)
    with pytest.raises(ImproperlyConfigured, match=r"ptemporal.payload_limit = 67108864 .* 2097152"):
        asyncio.run(Worker(shop.app, pool="threads").serve())
