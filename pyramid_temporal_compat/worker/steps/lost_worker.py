"""Step: decide what becomes of a task whose process died, and end a task that has lost its worker too often."""

from __future__ import annotations

import logging

from ...exceptions import WorkerLostError
from ...message import wire_names as wire
from ...message.message import Message
from ...payload.errors import to_wire
from ..attempt_end import AttemptEnd, not_begun
from ..job import Job
from ..outcome import Retried
from ..taken_task import TakenTask, WorkerParts

log = logging.getLogger(__name__)


def refusal(worker: WorkerParts, job: Job) -> Exception | None:
    """Return the error with which a task fails before it runs again, if it has lost its worker too often."""
    return _too_often(worker, job.message) if worker.is_lost_too_often(job.earlier.lost) else None


def after_loss(worker: WorkerParts, taken: TakenTask, error: WorkerLostError) -> Exception | Retried:
    """Return the error with which the task fails, or its retry; raise what has it run again as a lost attempt."""
    message, job = taken.job.message, taken.job
    if taken.began is None:
        raise not_begun(job) from None
    log.error("Task %s[%s]: %s", message.task, message.id, error)
    task = worker.app.tasks[message.task]
    if task.retry_on_worker_lost and (task.max_retries is None or job.retries < task.max_retries):
        return Retried(task.default_retry_delay, to_wire(error))
    if task.retry_on_worker_lost or message.at_most_once or task.reject_on_worker_lost is False:
        return error
    if worker.is_lost_too_often(1 + job.earlier.lost):
        return _too_often(worker, message)
    raise AttemptEnd(str(error), type=wire.WORKER_LOST) from None


def _too_often(worker: WorkerParts, message: Message) -> WorkerLostError:
    most = worker.app.conf.ptemporal_lost_worker_attempts
    log.error("Task %s[%s] has lost its worker %d times: it is not run again", message.task, message.id, most)
    return WorkerLostError(
        f"{message.task}[{message.id}] has lost its worker {most} times, and is not run again "
        "(ptemporal.lost_worker_attempts)"
    )
