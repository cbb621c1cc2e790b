"""Step: tell the server how an attempt in a slice ended, as the first attempt of the task's own activity.

The task has left its slice: it is to run again, or its slice was lost. The server then counts this attempt, waits until
the next one, and shows the task's state, as if the attempt had been made here.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta

from temporalio import activity

from ...message.slices import AttemptRecord
from .. import heartbeat
from ..attempt_end import AT_ONCE, AttemptEnd
from ..job import Job


def without_attempt(job: Job) -> Job:
    """Return the job to run. Raises how the attempt in the slice ended, if this is the first attempt since."""
    attempted = job.message.attempted
    if attempted is None:
        return job
    record, info = AttemptRecord.read(attempted), activity.info()
    was_lost = bool(record.counts) and not info.heartbeat_details  # the worker of the first attempt did not get so far
    if info.attempt == 1 or was_lost:
        raise as_it_ended(record)
    return dataclasses.replace(job, message=job.message.copy(attempted=None))


def as_it_ended(record: AttemptRecord) -> AttemptEnd:
    """Return the error of the recorded attempt. The time since then counts as a part of the delay that it asked for."""
    if record.counts is not None:
        heartbeat.tell(record.counts)
    info, delay = activity.info(), None
    if record.delay is not None:
        waited = info.started_time - info.current_attempt_scheduled_time
        delay = max(AT_ONCE, timedelta(seconds=record.delay) - waited)
    return AttemptEnd(
        record.text, *record.details, type=record.type, non_retryable=record.final, next_retry_delay=delay
    )
