"""Context activities on the real server, with real sessions."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
import transaction
from pyramid.threadlocal import get_current_request
from sqlalchemy import insert
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

from tests.native import activities as the
from tests.native.running import run, run_activity, thread_local_manager
from tests.native.workflows import Meets, Writes
from tests.worker.shop import Account, Shop, seen

BOTH_KINDS = pytest.mark.parametrize("kind", ["async", "sync"])


def cause(error: WorkflowFailureError) -> BaseException:
    """Return the activity's own failure."""
    assert error.cause is not None
    assert error.cause.__cause__ is not None
    return error.cause.__cause__


def test_context_activities_commit_when_they_return(shop: Shop) -> None:
    result = run(shop, Writes, "you", activities=[the.write_async, the.write_sync, the.plain])
    assert result == ["async hello you", "sync hello you", "plain you"]
    assert shop.lines() == ["you", "you"]


@BOTH_KINDS
def test_an_activity_that_raises_aborts_and_its_next_attempt_commits(shop: Shop, kind: str) -> None:
    assert run_activity(shop, getattr(the, f"fails_once_{kind}"), "attempt", attempts=2) == 2
    assert shop.lines() == ["attempt 2"]


@BOTH_KINDS
def test_the_failure_of_an_activity_is_its_own_error(shop: Shop, kind: str) -> None:
    with pytest.raises(WorkflowFailureError) as failure:
        run_activity(shop, getattr(the, f"fails_once_{kind}"), "attempt")
    assert str(cause(failure.value)) == "ValueError: the first attempt fails"
    assert shop.lines() == []


@pytest.mark.parametrize("name", ["commits_in_the_middle", "commits_in_the_middle_sync"])
def test_a_commit_in_the_middle_stays(shop: Shop, name: str) -> None:
    with pytest.raises(WorkflowFailureError):
        run_activity(shop, getattr(the, name), "work")
    assert shop.lines() == ["work, committed"]


@BOTH_KINDS
def test_a_cancelled_activity_aborts(shop: Shop, kind: str) -> None:
    async def cancel(handle: WorkflowHandle[Any, Any]) -> None:
        while not (await handle.describe()).raw_description.pending_activities:  # noqa: ASYNC110  the server's state
            await asyncio.sleep(0.02)
        await handle.cancel()

    with pytest.raises(WorkflowFailureError) as failure:
        run_activity(shop, getattr(the, f"waits_{kind}"), "cancelled", during=cancel)
    assert isinstance(failure.value.cause, CancelledError)
    assert seen["cancelled"] in ([True], [])  # it may be cancelled before it begins
    assert shop.lines() == []


def test_an_attempt_that_has_missed_its_heartbeat_ends_and_aborts(shop: Shop) -> None:
    assert run_activity(shop, the.goes_silent, "silent", attempts=2) == ["the last sign of life"]
    assert seen["silent"] == ["ended"]
    assert shop.lines() == ["silent 2"]


def test_an_activity_that_somebody_else_completes_commits(shop: Shop) -> None:
    async def complete(handle: WorkflowHandle[Any, Any]) -> None:
        client = await Client.connect(shop.settings["ptemporal.address"])
        while not shop.lines():  # noqa: ASYNC110  the database's state
            await asyncio.sleep(0.02)
        await client.get_async_activity_handle(task_token=seen["later"][0]).complete("done")

    assert run_activity(shop, the.completes_later, "later", during=complete) == "done"
    assert shop.lines() == ["later"]


# --- many at once --------------------------------------------------------------------------------------

SIZE = 200


def meet(shop: Shop, writes: bool) -> list[list[Any]]:
    name = uuid.uuid4().hex
    the.meetings[name] = the.Meeting(SIZE)
    return run(
        shop,
        Meets,
        name,
        SIZE,
        writes,
        activities=[the.meet_async, the.meet_sync],
        max_concurrent_activities=SIZE,
        disable_eager_activity_execution=True,
    )


@pytest.mark.parametrize("hook", ["pyramid_tm.explicit_manager", thread_local_manager])
def test_two_hundred_activities_at_once_see_only_their_own_rows(
    temporal_address: str, database_url: str, hook: Any
) -> None:
    settings: dict[str, Any] = {"shop.pool_size": "220", "tm.manager_hook": hook}
    shop = Shop(temporal_address, database_url, **settings)
    try:
        found = meet(shop, writes=True)
        assert [rows[2:] for rows in found] == [[f"of {number}"] for number in range(SIZE)]
        assert len({rows[0] for rows in found}) == len({rows[1] for rows in found}) == SIZE
        assert sorted(shop.lines()) == sorted(f"of {number}" for number in range(SIZE))
        assert get_current_request() is None
    finally:
        shop.close()


def test_two_hundred_activities_at_once_on_sqlite(temporal_address: str, tmp_path: Path) -> None:
    shop = Shop(temporal_address, f"sqlite:///{tmp_path}/shop.db?timeout=60", **{"shop.pool_size": "220"})
    try:
        with shop.session() as session:
            session.execute(insert(Account), [{"id": str(number), "balance": number} for number in range(SIZE)])
            session.commit()
        found = meet(shop, writes=False)
        assert [rows[2:] for rows in found] == [[number] for number in range(SIZE)]
        assert len({rows[0] for rows in found}) == len({rows[1] for rows in found}) == SIZE
        assert sorted(shop.lines()) == sorted(f"of {number}" for number in range(SIZE))
    finally:
        shop.close()


def test_an_async_activity_that_uses_the_threads_transaction_fails_and_says_why(shop: Shop) -> None:
    with pytest.raises(WorkflowFailureError) as failure:
        run_activity(shop, the.uses_the_threads_transaction, "")
    assert "'uses_the_threads_transaction' is `async def`" in str(cause(failure.value))
    assert "transaction_manager=request.tm" in str(cause(failure.value))
    assert seen["thread"] == ["aborted"]
    assert transaction.manager.manager._txn is None


# --- what joins the transaction ------------------------------------------------------------------------


@BOTH_KINDS
def test_a_task_that_an_activity_calls_leaves_with_its_commit(shop: Shop, kind: str, ptemporal_dispatched: Any) -> None:
    activity = getattr(the, f"calls_a_task_{kind}")
    with pytest.raises(WorkflowFailureError):
        run_activity(shop, activity, "fail")
    assert ptemporal_dispatched == []
    run_activity(shop, activity, "hello")
    assert [call.args for call in ptemporal_dispatched] == [("hello",)]
