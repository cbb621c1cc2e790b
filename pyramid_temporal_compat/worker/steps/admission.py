"""Step: refuse a task that has expired, that was revoked, or that this worker does not know."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable
from datetime import timedelta

from temporalio import activity

from ...message import wire_names as wire
from ...message.message import Message
from .. import task_signals
from ..attempt_end import AttemptEnd, in_order, revoked
from ..job import Job
from ..taken_task import WorkerParts

log = logging.getLogger(__name__)

UNKNOWN_PAUSE = timedelta(seconds=5)
"""How long a task that this worker does not know waits before the server offers it again."""
FROZEN = 1.0
"""Seconds between the two clocks of a process that only a test which freezes the time can cause."""


def admit(worker: WorkerParts, job: Job) -> None:
    """Raise what ends the task, or what gives it back, if it may not run here and now."""
    refuse_expired(worker, job)
    refuse_revoked(worker, job)
    refuse_unknown(worker, job)


def refuse_expired(worker: WorkerParts, job: Job) -> None:
    message = job.message
    if message.expires and has_expired(message, message.expires, activity.info().started_time):
        log.info("%s[%s] expired at %s", message.task, message.id, message.expires.isoformat())
        task_signals.revoked(worker, job, expired=True)
        raise revoked(f"expired at {message.expires.isoformat()}")


def refuse_revoked(worker: WorkerParts, job: Job) -> None:
    message = job.message
    reason = worker.orders.refusal(message)
    if reason is not None:
        log.info("Discarding revoked task: %s[%s]", message.task, message.id)
        task_signals.revoked(worker, job)
        raise revoked(reason)


def refuse_unknown(worker: WorkerParts, job: Job) -> None:
    message = job.message
    if message.task in worker.app.tasks:
        return
    text = worker.why_unknown(message.task)
    if worker.unknown_tasks.is_new(message.task):
        log.error("%s[%s]: %s", message.task, message.id, text)
    task_signals.unknown(worker, message, text)
    if worker.app.conf.ptemporal_unknown_task == "fail":
        raise AttemptEnd(text, type=wire.NOT_REGISTERED, non_retryable=True)
    raise in_order(job, text, type=wire.NOT_REGISTERED, next_retry_delay=UNKNOWN_PAUSE)


def has_expired(
    message: Message, expires: datetime.datetime, started: datetime.datetime, clock: Callable[[], float] = time.time
) -> bool:
    """Return whether the task came too late, by the server's clock: the sender's and this worker's may be wrong.

    :param started: when the attempt started, as the server says.
    :param clock: bound here, once: where a test has frozen the time, the frozen time counts.
    """
    here = datetime.datetime.now(datetime.timezone.utc)
    if abs(here.timestamp() - clock()) > FROZEN:
        return expires <= here
    return expires + timedelta(seconds=message.ahead) <= started
