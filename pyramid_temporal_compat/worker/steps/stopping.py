"""Step: decide what becomes of a running task that the worker, Temporal or a control call wants to stop."""

from __future__ import annotations

import logging

from temporalio import activity

from ...exceptions import Terminated, WorkerLostError
from ...payload.errors import to_wire
from .. import task_signals
from ..attempt_end import AttemptEnd, failed, not_begun, revoked, worker_stopped
from ..taken_task import TakenTask, WorkerParts

log = logging.getLogger(__name__)


def when_told(worker: WorkerParts, taken: TakenTask) -> AttemptEnd | None:
    """Return how the attempt ends if a control call terminated the task, or if the worker ends at once."""
    message = taken.job.message
    if taken.terminated.done():
        name = taken.terminated.result()
        log.warning("Task %s[%s] is terminated (%s)", message.task, message.id, name)
        task_signals.revoked(worker, taken.job, terminated=True, signum=name)
        return revoked("terminated")
    return _with_worker(taken) if worker.stop_now.is_set() else None


def when_cancelled(worker: WorkerParts, taken: TakenTask) -> AttemptEnd | None:
    """Return how the attempt ends if its workflow was terminated or the worker ends.

    Return None if the task was revoked: a task that runs when it is revoked runs to its end.
    """
    message = taken.job.message
    details = activity.cancellation_details()
    if details is not None and (details.not_found or details.timed_out):
        log.info("Task %s[%s] was terminated", message.task, message.id)
        task_signals.revoked(worker, taken.job, terminated=True, signum="SIGTERM")
        return AttemptEnd("terminated", type=Terminated.__name__, non_retryable=True)
    if details is None or details.worker_shutdown:
        return _with_worker(taken)
    log.info("Task %s[%s] was revoked while it ran: it runs to its end", message.task, message.id)
    return None


def _with_worker(taken: TakenTask) -> AttemptEnd:
    message = taken.job.message
    if taken.began is None:
        return not_begun(taken.job)
    if message.at_most_once:
        log.error(
            "Task %s[%s] is stopped with this worker; acks_late=False: it is not run again", message.task, message.id
        )
        return failed(to_wire(WorkerLostError(f"the worker was stopped while it ran {message.id}")))
    log.warning("Task %s[%s] is stopped with this worker and runs again", message.task, message.id)
    return worker_stopped(taken.job)
