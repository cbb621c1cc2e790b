"""Step: with receipts on, find out whether the task is done already, by an attempt that lost its worker.

It comes before admission: a task that is done can't be refused any more.
"""

from __future__ import annotations

import dataclasses
import logging

from temporalio import activity
from temporalio.service import RPCError

from ...message import wire_names as wire
from ..attempt_end import IN_DOUBT_PAUSE, in_doubt, in_order
from ..heartbeat import beating, lost_before
from ..job import Job
from ..outcome import InDoubt, ReceiptAnswer, ReceiptOfAnotherRun
from ..run_identity import same_chain
from ..taken_task import NO_LIMITS, WorkerParts

log = logging.getLogger(__name__)


async def is_done(worker: WorkerParts, job: Job) -> bool:
    """Return whether an attempt that lost its worker has committed."""
    message = job.message
    if not worker.app.conf["ptemporal.receipts"] or not lost_before() or message.task not in worker.app.tasks:
        return False
    async with beating(job):
        question = dataclasses.replace(job, only_asks_for_receipt=True)
        answer = await worker.pool.run(question, NO_LIMITS, lambda note: None)
    if isinstance(answer, InDoubt):
        raise in_doubt(message, job.retries, answer.error)
    return isinstance(answer, ReceiptAnswer) and answer.is_done


async def with_known_run(job: Job, found: ReceiptOfAnotherRun) -> Job:
    """Return the job, told whether the other run that has left a receipt was a run of the same task.

    The server knows: the other run may be a workflow that was reset, or one that had the id before.
    """
    message = job.message
    try:
        client = activity.client()
        same = await same_chain(client, (job.workflow_id or "", job.run_id), (found.workflow_id, found.run_id))
    except RPCError as error:
        log.warning("Task %s[%s]: whether it is done is asked again: %s", message.task, message.id, error.message)
        raise in_order(message, error.message, type=wire.IN_DOUBT, next_retry_delay=IN_DOUBT_PAUSE) from None
    return dataclasses.replace(job, known_runs={**job.known_runs, found.run_id: same})
