"""Step: wait for the task's turn under its rate limit, in the worker for a moment, and longer on the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from ...message import wire_names as wire
from ...message.heartbeat_pause import heartbeat_pause
from ..attempt_end import in_order
from ..heartbeat import details_of, tell
from ..job import Job
from ..taken_task import WorkerParts

LONGEST_HOLD = 0.2
"""Seconds that a task waits in the worker rather than on the server: meanwhile no other task has its place."""
LOOK_EVERY = 3.0
"""Seconds after which a waiting task that runs at most once looks whether it was revoked."""


async def wait_for_turn(worker: WorkerParts, job: Job, refuse_revoked: Callable[[WorkerParts, Job], None]) -> None:
    """Return when the rate limit lets the task start. Give the task back to the server if that takes long.

    :param refuse_revoked: called after each pause, because a task can be revoked while it waits.
    """
    message = job.message
    while wait := worker.orders.wait(message):
        if wait > LONGEST_HOLD and not message.at_most_once:
            raise in_order(
                job,
                f"its turn is in {wait:.1f} s (rate limit)",
                type=wire.RATE_LIMITED,
                next_retry_delay=timedelta(seconds=wait),
            )
        if wait > LONGEST_HOLD:
            tell(details_of(job.earlier))
        await asyncio.sleep(min(wait, LOOK_EVERY, heartbeat_pause(message.heartbeat_timeout)))
        refuse_revoked(worker, job)
