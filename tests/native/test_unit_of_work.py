"""How one execution ends, and which request is current meanwhile; without a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import transaction
from pyramid import testing
from pyramid.config import Configurator
from pyramid.threadlocal import get_current_request, manager
from temporalio.exceptions import CancelledError
from temporalio.testing import ActivityEnvironment

from pyramid_temporal_compat import ActivityContext, activity
from pyramid_temporal_compat.native.binding import bound_activity
from pyramid_temporal_compat.native.current_requests import TaskStack, keep_apart


class Member:
    """A data manager that notes how its transaction ends."""

    def __init__(self, context: ActivityContext, when_commits: Callable[[], None] = lambda: None) -> None:
        self.transaction_manager = context.tm
        self.ends: list[str] = []
        self._when_commits = when_commits
        context.tm.get().join(self)

    def commit(self, _: Any) -> None:
        self._when_commits()

    def tpc_finish(self, _: Any) -> None:
        self.ends.append("committed")

    def abort(self, _: Any) -> None:
        self.ends.append("aborted")

    def tpc_begin(self, _: Any) -> None: ...
    def tpc_vote(self, _: Any) -> None: ...
    def tpc_abort(self, _: Any) -> None: ...
    def sortKey(self) -> str:
        return "member"


@pytest.fixture
def registry() -> Any:
    config = Configurator(settings={"key": "value"})
    config.add_request_method(lambda request: object(), "token", reify=True)
    config.commit()
    return config.registry


@pytest.fixture
def members() -> list[Member]:
    return []


def test_a_context_has_the_applications_parts(registry: Any) -> None:
    found: list[Any] = []

    @activity.defn
    def look(context: ActivityContext) -> None:
        found.extend([context.registry, context.settings["key"], context.tm, context.is_cancelled()])
        assert context.request is get_current_request()
        assert context.request.token is context.request.token

    ActivityEnvironment().run(bound_activity(registry, look))
    assert found == [registry, "value", transaction.manager, False]
    assert get_current_request() is None


def test_a_cancellation_before_the_end_aborts(registry: Any, members: list[Member]) -> None:
    environment = ActivityEnvironment()

    @activity.defn
    def cancelled(context: ActivityContext) -> str:
        members.append(Member(context))
        environment.cancel()
        return "too late"

    with pytest.raises(CancelledError):
        environment.run(bound_activity(registry, cancelled))
    assert members[0].ends == ["aborted"]
    assert get_current_request() is None


def test_a_cancellation_during_the_commit_comes_too_late(registry: Any, members: list[Member]) -> None:
    environment = ActivityEnvironment()

    @activity.defn
    def cancelled(context: ActivityContext) -> str:
        members.append(Member(context, when_commits=environment.cancel))
        return "done"

    assert environment.run(bound_activity(registry, cancelled)) == "done"
    assert members[0].ends == ["committed"]


def test_a_commit_that_fails_is_the_failure_of_the_activity(registry: Any, members: list[Member]) -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    @activity.defn
    def commits(context: ActivityContext) -> str:
        members.append(Member(context, when_commits=fail))
        return "done"

    with pytest.raises(OSError, match="the disk is full"):
        ActivityEnvironment().run(bound_activity(registry, commits))
    assert "committed" not in members[0].ends
    assert get_current_request() is None


def test_a_doomed_transaction_aborts_and_the_result_is_returned(registry: Any, members: list[Member]) -> None:
    @activity.defn
    def dooms(context: ActivityContext) -> str:
        members.append(Member(context))
        context.tm.doom()
        return "done"

    assert ActivityEnvironment().run(bound_activity(registry, dooms)) == "done"
    assert members[0].ends == ["aborted"]


# --- the current request -------------------------------------------------------------------------------


def on_another_thread(function: Callable[[], None]) -> None:
    """Call it on a thread whose stack of requests is new."""
    errors: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def test_asyncio_tasks_of_one_thread_see_only_their_own_requests() -> None:
    async def one(number: int) -> None:
        manager.push({"request": number, "registry": None})
        await asyncio.sleep(0)
        assert get_current_request() == number
        await asyncio.create_task(child(number))
        manager.push({"request": -number, "registry": None})
        await asyncio.sleep(0)
        assert get_current_request() == -number
        manager.pop()
        assert get_current_request() == number
        manager.pop()
        assert get_current_request() == "below"

    async def child(number: int) -> None:
        assert get_current_request() == number

    async def main() -> None:
        await asyncio.gather(*map(one, range(1, 11)))
        assert get_current_request() == "below"

    def check() -> None:
        manager.push({"request": "below", "registry": None})
        keep_apart()
        keep_apart()
        assert isinstance(manager.stack, TaskStack)
        asyncio.run(main())
        manager.pop()
        assert get_current_request() is None

    on_another_thread(check)


def test_pyramids_own_test_helpers_work_on_such_a_thread() -> None:
    def check() -> None:
        keep_apart()
        with testing.testConfig(request="of the test"):
            assert get_current_request() == "of the test"
            testing.setUp(request="another")
            assert next(entry["request"] for entry in reversed(manager.stack)) == "another"
            testing.tearDown()
        assert get_current_request() is None
        assert len(manager.stack) == 0

    on_another_thread(check)
