"""Heartbeats of one attempt: they tell the server that the task is alive, and the next attempt what came before.

The server hands the details of the last heartbeat to the next attempt. So each heartbeat carries counts: how often the
task was retried, and how many attempts ended in order. All other attempts lost their worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from temporalio import activity

from ..message import wire_names as wire
from ..message.message import Message
from .job import Job, Progress

PART_OF_TIMEOUT = 0.8
"""Part of the timeout between two heartbeats of a task that reports nothing. Temporal Cloud bills each heartbeat."""
SLACK = 6.0
"""Seconds that a heartbeat may be late, on a busy machine, before the server takes the worker for lost."""
BEATS_PER_SHORT_TIMEOUT = 10
"""Heartbeats in a `heartbeat_timeout` that is shorter than the slack: that many may be late."""
SHORTEST_PAUSE = 0.02
"""Seconds between two heartbeats at least, even if a message asks for a very short timeout."""


def pause_of(message: Message) -> float:
    """Return the seconds between two heartbeats."""
    timeout = message.heartbeat_timeout
    seldom = min(timeout * PART_OF_TIMEOUT, timeout - SLACK)
    return max(SHORTEST_PAUSE, seldom, timeout / BEATS_PER_SHORT_TIMEOUT)


class Heartbeat:
    """Tells the server that a job is alive, and the progress that it reports."""

    def __init__(self, job: Job) -> None:
        self._details: dict[str, Any] = counts(job.message)
        self._pause = pause_of(job.message)
        self._context = contextvars.copy_context()  # the activity's own; the pool calls `note` from elsewhere

    def note(self, note: Any) -> None:
        """Send a heartbeat at once if `note` is progress."""
        if isinstance(note, Progress):
            self._details |= {wire.STATE: note.state, wire.META: note.meta}
            self._beat()

    async def forever(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            self._beat()

    def _beat(self) -> None:
        self._context.run(tell, self._details)


Teller = Callable[[Mapping[str, Any]], None]
_teller: contextvars.ContextVar[Teller] = contextvars.ContextVar("ptemporal_heartbeat", default=activity.heartbeat)


def tell(details: Mapping[str, Any]) -> None:
    """Send a heartbeat of the current attempt. In a slice, the slice adds the member to it."""
    _teller.get()(details)


def told_by(teller: Teller) -> None:
    """Have the heartbeats of the current asyncio task sent by `teller`."""
    _teller.set(teller)


@contextlib.asynccontextmanager
async def beating(job: Job) -> AsyncIterator[Heartbeat]:
    """Send heartbeats until the end of the block."""
    beat = Heartbeat(job)
    running = asyncio.ensure_future(beat.forever())
    try:
        yield beat
    finally:
        running.cancel()


# --- what the last attempt left in its heartbeat -----------------------------------------------------


def counts(message: Message) -> dict[str, Any]:
    """Return the counts for a heartbeat, and the changed message if a retry changed it."""
    changed = {name: value for name, value in last_heartbeat().items() if name == wire.CHANGED}
    return {wire.RETRIES: earlier_retries(message), wire.ORDERLY: _ended_in_order(), **changed}


def earlier_retries(message: Message) -> int:
    """Return how often the task was retried before this attempt."""
    return wire.count(last_heartbeat().get(wire.RETRIES), message.retries)


def lost_before() -> int:
    """Return how many earlier attempts lost their worker, or their process."""
    return activity.info().attempt - 1 - _ended_in_order()


def last_heartbeat() -> Mapping[str, Any]:
    """Return the details of the last heartbeat of the attempt before this one."""
    details = activity.info().heartbeat_details
    found = details[0] if details else None
    return found if isinstance(found, Mapping) else {}


def _ended_in_order() -> int:
    """Return how many earlier attempts ended in order."""
    return wire.count(last_heartbeat().get(wire.ORDERLY))
