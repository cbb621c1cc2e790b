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

from ..client.attempt_counts import AttemptCounts
from ..message import wire_names as wire
from ..message.heartbeat_pause import heartbeat_pause
from .job import Job, Progress


class Heartbeat:
    """Tells the server that a job is alive, and the progress that it reports."""

    def __init__(self, job: Job) -> None:
        self._details: dict[str, Any] = details_of(job.earlier)
        self._pause = heartbeat_pause(job.message.heartbeat_timeout)
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


def details_of(counts: AttemptCounts) -> dict[str, Any]:
    """Return the details of a heartbeat: the counts, and the changed message if a retry changed it."""
    changed = {name: value for name, value in last_heartbeat().items() if name == wire.CHANGED}
    return {**counts.written(), **changed}


def last_heartbeat() -> Mapping[str, Any]:
    """Return the details of the last heartbeat of an earlier attempt."""
    details = activity.info().heartbeat_details
    found = details[0] if details else None
    return found if isinstance(found, Mapping) else {}
