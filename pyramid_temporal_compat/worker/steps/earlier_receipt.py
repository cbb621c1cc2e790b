"""Step: with receipts on, find out whether the task is done already, by an attempt that lost its worker.

It comes before admission: a task that is done can't be refused any more.
"""

from __future__ import annotations

import dataclasses
import logging

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from ...message import wire_names as wire
from ..attempt_end import IN_DOUBT_PAUSE, in_doubt, in_order
from ..heartbeat import beating
from ..job import Job
from ..outcome import InDoubt, ReceiptAnswer, ReceiptOfAnotherRun
from ..taken_task import NO_LIMITS, WorkerParts

log = logging.getLogger(__name__)


async def is_done(worker: WorkerParts, job: Job) -> bool:
    """Return whether an attempt that lost its worker has committed."""
    message = job.message
    if not worker.app.conf["ptemporal.receipts"] or not job.earlier.lost or message.task not in worker.app.tasks:
        return False
    async with beating(job):
        question = dataclasses.replace(job, only_asks_for_receipt=True)
        answer = await worker.pool.run(question, NO_LIMITS, lambda note: None)
    if isinstance(answer, InDoubt):
        raise in_doubt(job, answer.error)
    return isinstance(answer, ReceiptAnswer) and answer.is_done


async def with_known_run(job: Job, found: ReceiptOfAnotherRun) -> Job:
    """Return the job, told whether the other run that has left a receipt was a run of the same task.

    The server knows: the other run may be a workflow that was reset, or one that had the id before.
    """
    message = job.message
    if job.workflow_id is None:  # a standalone activity has one run, and its attempts share the run's id
        return dataclasses.replace(job, known_runs={**job.known_runs, found.run_id: False})
    try:
        client = activity.client()
        same = await is_same_task(client, (job.workflow_id, job.run_id), (found.workflow_id, found.run_id))
    except RPCError as error:
        log.warning("Task %s[%s]: whether it is done is asked again: %s", message.task, message.id, error.message)
        raise in_order(job, error.message, type=wire.IN_DOUBT, next_retry_delay=IN_DOUBT_PAUSE) from None
    return dataclasses.replace(job, known_runs={**job.known_runs, found.run_id: same})


Execution = tuple[str, str]
"""The ids of a workflow and of its run."""


async def is_same_task(client: Client, one: Execution, other: Execution) -> bool:
    """Return whether two runs of a workflow id are runs of one task.

    The second run may be a reset of the first run, or a new task under an id that was used before.
    """
    origin = await _origin(client, one)
    return origin is not None and origin in (other, await _origin(client, other))


async def _origin(client: Client, execution: Execution) -> Execution | None:
    """Return the first run of the chain of runs that `execution` belongs to. Return None if the server has lost it.

    For a child workflow, return the first run of its root workflow. A reset of the root starts its children anew, so
    only the root shows whether two children with the same id belong together.
    """
    workflow_id, run_id = execution
    try:
        found = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    info = found.raw_description.workflow_execution_info
    root = info.root_execution
    if root.workflow_id not in ("", workflow_id):
        return await _origin(client, (root.workflow_id, root.run_id)) or (root.workflow_id, root.run_id)
    return workflow_id, info.first_run_id or run_id
