"""One reader of a workflow's history for all who wait for its members: each by itself would read all of it again."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError

LINGER = 5.0
"""Seconds that a reader stays when nobody waits: who asks for one result after the other is soon back."""
OUTDATED = "branch tokens"
"""What the server says where the place that it has remembered in a history has changed since: it is read anew."""


class Account(Protocol):
    """What is made of a history."""

    async def take(self, event: HistoryEvent) -> None: ...


A = TypeVar("A", bound=Account)

Run = tuple[str, str | None]
"""A workflow's id and its run's; without that, the run that is the last when it is asked for."""

_following: weakref.WeakKeyDictionary[Client, dict[Run, Follower]] = weakref.WeakKeyDictionary()
"""Each client belongs to one event loop, and so do its followers."""


async def follow(client: Client, run: Run, begin: Callable[[], A], enough: Callable[[A], bool]) -> A:
    """The account of a workflow's history as soon as it is `enough`, or whole."""
    followers = _following.setdefault(client, {})
    follower = followers.get(run)
    if follower is None:
        follower = Follower(client, run, begin, lambda: followers.pop(run, None))
        followers[run] = follower
    account: A = await follower.until(enough)
    return account


class Follower:
    """Reads a history event by event, up to the workflow's end."""

    def __init__(self, client: Client, run: Run, begin: Callable[[], Account], on_left: Callable[[], object]) -> None:
        self._begin = begin
        self._account = begin()
        self._client = client
        self._run = run
        self._on_left = on_left
        self._waiting: set[asyncio.Future[None]] = set()
        self._leaving: asyncio.TimerHandle | None = None
        self._reading = asyncio.ensure_future(self._read())
        self._reading.add_done_callback(self._ended)

    async def until(self, enough: Callable[[Any], bool]) -> Any:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        try:
            while not enough(self._account) and not self._reading.done():
                changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.add(changed)
                try:
                    await changed
                finally:
                    self._waiting.discard(changed)
            if self._reading.done():
                self._reading.result()  # raises what kept it from reading on
            return self._account
        finally:
            if not self._waiting:
                failed = self._reading.done() and (self._reading.cancelled() or self._reading.exception() is not None)
                self._leaving = asyncio.get_running_loop().call_later(0.0 if failed else LINGER, self._leave)

    async def _read(self) -> None:
        workflow_id, run_id = self._run
        handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
        while True:
            try:
                async for event in handle.fetch_history_events(wait_new_event=True):
                    await self._account.take(event)
                    self._wake()
                return
            except RPCError as error:
                if OUTDATED not in error.message:
                    raise
                self._account = self._begin()

    def _ended(self, reading: asyncio.Task[None]) -> None:
        if not reading.cancelled():
            reading.exception()  # asyncio would log it as lost, where it comes while nobody waits
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def _leave(self) -> None:
        if not self._waiting:
            self._reading.cancel()
            self._on_left()
