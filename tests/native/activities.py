"""Activities of the tests, on the tables of `tests.worker.shop`, and what they share with a test of this process."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import temporalio.activity
import transaction
from pyramid.threadlocal import get_current_request
from sqlalchemy import func, select

from pyramid_temporal_compat import ActivityContext, activity
from tests.worker.shop import Account, Line, gates, note, seen, write


@activity.defn
async def write_async(context: ActivityContext, text: str) -> str:
    context.request.dbsession.add(Line(text=text))
    return f"async {context.request.greet(text)}"


@activity.defn(name="write-sync")
def write_sync(context: ActivityContext, text: str) -> str:
    context.request.dbsession.add(Line(text=text))
    return f"sync {context.request.greet(text)}"


@temporalio.activity.defn
async def plain(text: str) -> str:
    return f"plain {text}"


@temporalio.activity.defn
def plain_sync(text: str) -> str:
    return f"plain sync {text}"


@activity.defn
def names_its_thread(context: ActivityContext, text: str) -> str:
    return threading.current_thread().name


class Service:
    """Activities as methods: one with a context and one without."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    @activity.defn
    def greet(self, context: ActivityContext, text: str) -> str:
        write(f"{self.greeting} {text}")
        return f"{self.greeting} {text}"

    @temporalio.activity.defn
    async def greet_plainly(self, text: str) -> str:
        return f"plain {self.greeting} {text}"


# --- many at once --------------------------------------------------------------------------------------


class Meeting:
    """A place where activities wait for each other, on threads and on an event loop."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._arrived = {"written": 0, "read": 0}
        self._lock = threading.Lock()

    def arrive(self, step: str) -> None:
        with self._lock:
            self._arrived[step] += 1

    def is_full(self, step: str) -> bool:
        return self._arrived[step] >= self.size


meetings: dict[str, Meeting] = {}


def at_first(context: ActivityContext, number: int, writes: bool) -> None:
    if writes:
        context.request.dbsession.add(Line(text=f"of {number}"))
        context.request.dbsession.flush()
    else:
        assert context.request.dbsession.get(Account, str(number)).balance == number


def in_between(context: ActivityContext, number: int, writes: bool) -> list[Any]:
    """Return what this execution sees while all others are under way."""
    session = context.request.dbsession
    assert get_current_request() is context.request
    assert session is get_current_request().dbsession
    if writes:
        return [id(session), id(context.tm.get()), *session.scalars(select(Line.text))]
    return [id(session), id(context.tm.get()), session.get(Account, str(number)).balance]


def at_last(context: ActivityContext, number: int, writes: bool) -> None:
    if not writes:
        context.request.dbsession.add(Line(text=f"of {number}"))


@activity.defn
async def meet_async(context: ActivityContext, meeting: str, number: int, writes: bool) -> list[Any]:
    at_first(context, number, writes)
    meetings[meeting].arrive("written")
    while not meetings[meeting].is_full("written"):  # noqa: ASYNC110  threads wait here too
        await asyncio.sleep(0.01)
    found = in_between(context, number, writes)
    meetings[meeting].arrive("read")
    while not meetings[meeting].is_full("read"):  # noqa: ASYNC110  threads wait here too
        await asyncio.sleep(0.01)
    at_last(context, number, writes)
    return found


@activity.defn
def meet_sync(context: ActivityContext, meeting: str, number: int, writes: bool) -> list[Any]:
    at_first(context, number, writes)
    meetings[meeting].arrive("written")
    while not meetings[meeting].is_full("written"):
        time.sleep(0.01)
    found = in_between(context, number, writes)
    meetings[meeting].arrive("read")
    while not meetings[meeting].is_full("read"):
        time.sleep(0.01)
    at_last(context, number, writes)
    return found


@activity.defn
async def reads_twice(context: ActivityContext, number: int) -> int:
    session = context.request.dbsession
    before = session.scalar(select(func.count()).select_from(Line))
    await asyncio.sleep(0.05)
    return number + before - session.scalar(select(func.count()).select_from(Line))


# --- ends other than a return --------------------------------------------------------------------------


@activity.defn
async def fails_once_async(context: ActivityContext, text: str) -> int:
    context.request.dbsession.add(Line(text=f"{text} {context.info.attempt}"))
    context.request.dbsession.flush()
    if context.info.attempt == 1:
        raise ValueError("the first attempt fails")
    return context.info.attempt


@activity.defn
def fails_once_sync(context: ActivityContext, text: str) -> int:
    context.request.dbsession.add(Line(text=f"{text} {context.info.attempt}"))
    context.request.dbsession.flush()
    if context.info.attempt == 1:
        raise ValueError("the first attempt fails")
    return context.info.attempt


@activity.defn
async def waits_async(context: ActivityContext, text: str) -> None:
    context.request.dbsession.add(Line(text=text))
    context.request.dbsession.flush()
    try:
        while True:
            context.heartbeat(text)
            await asyncio.sleep(0.05)
    finally:
        seen[text].append(context.is_cancelled())


@activity.defn
def waits_sync(context: ActivityContext, text: str) -> None:
    context.request.dbsession.add(Line(text=text))
    context.request.dbsession.flush()
    try:
        while True:
            context.heartbeat(text)
            time.sleep(0.05)
    finally:
        seen[text].append(context.is_cancelled())


@activity.defn
def goes_silent(context: ActivityContext, text: str) -> list[Any]:
    """The first attempt sends no heartbeat until the second has come."""
    context.request.dbsession.add(Line(text=f"{text} {context.info.attempt}"))
    if context.info.attempt > 1:
        gates[text].open()
        return list(context.info.heartbeat_details)
    context.heartbeat("the last sign of life")
    gates[text].pass_through()
    try:
        while True:
            context.heartbeat("too late")
            time.sleep(0.05)
    finally:
        seen[text].append("ended")


@activity.defn
async def commits_in_the_middle(context: ActivityContext, text: str) -> None:
    context.request.dbsession.add(Line(text=f"{text}, committed"))
    context.request.tm.commit()
    context.request.tm.begin()
    context.request.dbsession.add(Line(text=f"{text}, aborted"))
    raise ValueError("fails after the commit")


@activity.defn
def commits_in_the_middle_sync(context: ActivityContext, text: str) -> None:
    context.request.dbsession.add(Line(text=f"{text}, committed"))
    context.request.tm.commit()
    context.request.tm.begin()
    context.request.dbsession.add(Line(text=f"{text}, aborted"))
    raise ValueError("fails after the commit")


# --- what joins the transaction ------------------------------------------------------------------------


@activity.defn
async def calls_a_task_async(context: ActivityContext, text: str) -> None:
    note.delay(text)
    await asyncio.sleep(0)
    if text == "fail":
        raise ValueError("after the call")


@activity.defn
def calls_a_task_sync(context: ActivityContext, text: str) -> None:
    note.delay(text)
    if text == "fail":
        raise ValueError("after the call")


@temporalio.activity.defn
async def writes_plainly_async(text: str) -> None:
    write(text)
    get_current_request().dbsession.flush()
    await asyncio.sleep(0)
    if text == "fail":
        raise ValueError("after the write")


@temporalio.activity.defn
def writes_plainly_sync(text: str) -> None:
    write(text)
    get_current_request().dbsession.flush()
    if text == "fail":
        raise ValueError("after the write")


@activity.defn
async def completes_later(context: ActivityContext, text: str) -> None:
    context.request.dbsession.add(Line(text=text))
    seen[text].append(context.info.task_token)
    activity.raise_complete_async()


class Member:
    """A data manager for the thread's own transaction, as of a session that is registered without `request.tm`."""

    transaction_manager = transaction.manager

    def abort(self, _: Any) -> None:
        seen["thread"].append("aborted")

    def tpc_begin(self, _: Any) -> None: ...
    def commit(self, _: Any) -> None: ...
    def tpc_vote(self, _: Any) -> None: ...
    def tpc_finish(self, _: Any) -> None: ...
    def tpc_abort(self, _: Any) -> None: ...
    def sortKey(self) -> str:
        return "member"


@activity.defn
async def uses_the_threads_transaction(context: ActivityContext, text: str) -> None:
    transaction.get().join(Member())
