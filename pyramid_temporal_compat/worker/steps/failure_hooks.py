"""Step: have the pool run the hooks that follow a failure, for a run that was ended from outside."""

from __future__ import annotations

import dataclasses
import logging

from ...payload.errors import to_wire
from ..heartbeat import beating
from ..job import Job
from ..outcome import Failed, Outcome, Replaced, Succeeded
from ..taken_task import NO_LIMITS, WorkerParts

log = logging.getLogger(__name__)


async def fail(worker: WorkerParts, job: Job, error: Exception) -> Outcome:
    """Return how the run ended: it failed with `error`.

    With receipts on, the pool looks for the receipt first. A run that had come to its commit has succeeded.
    """
    try:
        async with beating(job):
            follow = dataclasses.replace(job, failed_with=error)
            outcome: Outcome = await worker.pool.run(follow, NO_LIMITS, lambda note: None)
        if isinstance(outcome, (Succeeded, Replaced)):
            return outcome
    except Exception as raised:
        log.error("Task %s[%s]: what follows its failure was not run: %s", job.message.task, job.message.id, raised)
    return Failed(to_wire(error))
