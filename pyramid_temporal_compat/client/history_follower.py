"""Share one reader of a workflow's history among all callers that wait for its members.

Without it, each caller would read the whole history again.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from temporalio.client import Client
from temporalio.service import RPCError

from .history import Event, read_history

LINGER = 5.0
"""Seconds that a follower stays when nobody waits. A caller that asks for one result after the other is soon back."""
OUTDATED = "branch tokens"
"""Part of the server's error when the history has changed before the position that the reader has reached. The
history is then read from its start."""


class Collector(Protocol):
    """Collects from the events of a history what its callers wait for."""

    async def add(self, event: Event) -> None: ...


C = TypeVar("C", bound=Collector)

Run = tuple[str, str | None]
"""The ids of a workflow and of its run. Without a run id, the newest run."""

_followers: weakref.WeakKeyDictionary[Client, dict[Run, Follower]] = weakref.WeakKeyDictionary()
"""Each client belongs to one event loop, and its followers belong to the same loop."""


async def follow(client: Client, run: Run, new_collector: Callable[[], C], enough: Callable[[C], bool]) -> C:
    """Return the collector of a workflow's history as soon as it is `enough`, or when the workflow has ended."""
    followers = _followers.setdefault(client, {})
    follower = followers.get(run)
    if follower is None:
        follower = Follower(client, run, new_collector, lambda: _drop(followers, run, follower))
        followers[run] = follower
    collector: C = await follower.until(enough)
    return collector


def followed(client: Client, workflow_id: str) -> Collector | None:
    """Return what has been collected of a history that is followed, or was until a moment ago. Asks nobody.

    A caller that only looks does not make the follower stay. So what was collected is at most `LINGER` seconds older
    than the last call of `follow`.
    """
    follower = _followers.get(client, {}).get((workflow_id, None))
    return None if follower is None else follower.collector


def unfollow(client: Client, workflow_id: str) -> None:
    """Have `followed` and `follow` know nothing of a workflow's history. Callers that wait for it go on waiting."""
    _followers.get(client, {}).pop((workflow_id, None), None)


def _drop(followers: dict[Run, Follower], run: Run, follower: Follower | None) -> None:
    if followers.get(run) is follower:
        del followers[run]


class Follower:
    """Reads a history event by event, until the workflow ends. Belongs to the client's event loop."""

    def __init__(
        self, client: Client, run: Run, new_collector: Callable[[], Collector], on_left: Callable[[], object]
    ) -> None:
        self._new_collector = new_collector
        self.collector = new_collector()
        """What the history shows so far."""
        self._client = client
        self._run = run
        self._on_left = on_left
        self._waiting: set[asyncio.Future[None]] = set()
        self._leaving: asyncio.TimerHandle | None = None
        self._reading = asyncio.ensure_future(self._read())
        self._reading.add_done_callback(self._ended)

    async def until(self, enough: Callable[[Any], bool]) -> Any:
        """Wait until the collector is `enough` or the history has ended, and return the collector."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        try:
            while not enough(self.collector) and not self._reading.done():
                changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.add(changed)
                try:
                    await changed
                finally:
                    self._waiting.discard(changed)
            if self._reading.done():
                self._reading.result()  # raises the error that ended the reading
            return self.collector
        finally:
            if not self._waiting:
                failed = self._reading.done() and (self._reading.cancelled() or self._reading.exception() is not None)
                self._leaving = asyncio.get_running_loop().call_later(0.0 if failed else LINGER, self._leave)

    async def _read(self) -> None:
        workflow_id, run_id = self._run
        while True:
            try:
                async for event in read_history(self._client, workflow_id, run_id, follow=True):
                    await self.collector.add(event)
                    self._wake()
                return
            except RPCError as error:
                if OUTDATED not in error.message:
                    raise
                self.collector = self._new_collector()

    def _ended(self, reading: asyncio.Task[None]) -> None:
        if not reading.cancelled():
            reading.exception()  # without this call, asyncio logs an error that came while nobody waited
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def _leave(self) -> None:
        if not self._waiting:
            self._reading.cancel()
            self._on_left()
