"""Step: choose the time limits of a run, and decide what becomes of a task that ran past its hard limit."""

from __future__ import annotations

import logging

from ...control.limits import Limits
from ...exceptions import TimeLimitExceeded
from ...message import wire_names as wire
from ...message.message import Message
from ..attempt_end import AT_ONCE, AttemptEnd
from ..taken_task import TakenTask, WorkerParts

log = logging.getLogger(__name__)


def limits_of(worker: WorkerParts, message: Message) -> Limits:
    """Return the time limits of the call or a control call, else of the task, else of the worker."""
    asked, task = worker.orders.limits(message), worker.app.tasks[message.task]
    return Limits(
        asked.soft or task.soft_time_limit or worker.limits.soft,
        asked.hard or task.time_limit or worker.limits.hard,
    )


def after_limit(worker: WorkerParts, taken: TakenTask, limits: Limits, error: TimeLimitExceeded) -> Exception:
    """Return the error with which the task fails; raise what gives the task back, if it is to run again."""
    message = taken.job.message
    log.error("Task %s[%s]: hard time limit (%s s) exceeded", message.task, message.id, limits.hard)
    if not _is_given_back(worker, message) or worker.is_lost_too_often(1 + taken.job.earlier.lost):
        return error
    # Not in order: each such attempt counts as an attempt that killed its process.
    raise AttemptEnd(str(error), type=wire.REJECTED, next_retry_delay=AT_ONCE) from None


def _is_given_back(worker: WorkerParts, message: Message) -> bool:
    """Return whether a task that ran past its limit is to run again: Celery's `acks_on_timeout=False`."""
    task = worker.app.tasks[message.task]
    acknowledged = task.acks_on_timeout
    if acknowledged is None:
        acknowledged = task.acks_on_failure_or_timeout
    return bool(task.acks_late) and acknowledged is False
