"""How an attempt ends for Temporal, if not with a result: the errors that the activity raises.

An attempt ends the task for good, or another attempt follows. If the worker itself asks for another attempt, this
attempt ends *in order*. The last heartbeat or the failure counts such attempts, so that no one takes them for lost
workers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from temporalio.exceptions import ApplicationError

from ..client.attempt_counts import AttemptCounts
from ..log_lines.library_log import hide_errors
from ..message import wire_names as wire
from ..message.message import Message
from ..payload import Payload
from ..payload.errors import fitting, shorten_to_bytes
from .heartbeat import details_of, tell
from .job import Job

log = logging.getLogger(__name__)

AT_ONCE = timedelta(milliseconds=1)
"""The delay of an attempt that follows at once. The server takes a delay of 0 for none given, and then backs off."""
IN_DOUBT_PAUSE = timedelta(seconds=5)
"""How long a task waits if the database does not say whether it is done."""


class AttemptEnd(ApplicationError):
    """How an attempt ended, for Temporal. The worker has logged it in the task's own words."""

    remote_traceback: str | None = None
    """The task's own traceback: our failure converter shows it in the web UI."""


REASON_LIMIT, ERROR_LIMIT, TRACEBACK_LIMIT = 300, 1500, 1500
"""Bytes of a failure after which another attempt follows. The server keeps the failure of a pending activity up to
4 KiB; a larger one it replaces by "Failure exceeds size limit.", and drops its details."""


# The worker has logged how the attempt ended; the library would add a traceback.
hide_errors("temporalio.activity", AttemptEnd)


# --- the task has ended ------------------------------------------------------------------------------


def revoked(reason: str) -> AttemptEnd:
    """End the task as REVOKED."""
    return AttemptEnd(reason, type=wire.REVOKED, non_retryable=True)


def failed(error: Mapping[str, Any]) -> AttemptEnd:
    """End the task with its own exception, as `payload.errors` wrote it."""
    end = AttemptEnd(str(error.get("text")), wire.plain(error), type=str(error.get("type")), non_retryable=True)
    end.remote_traceback = error.get("traceback")
    return end


def failed_after(retries: int, error: Mapping[str, Any]) -> AttemptEnd:
    """End the task with its own exception, and tell how often it was retried."""
    return failed({**error, wire.RETRIES: retries} if retries else error)


# --- another attempt follows -------------------------------------------------------------------------


def in_order(job: Job, reason: str, **how: Any) -> AttemptEnd:
    """Give the task back to the server, which makes another attempt."""
    tell(details_of(job.earlier.after(job.attempt, job.retries)))
    return AttemptEnd(shorten_to_bytes(reason, REASON_LIMIT), **how)


def retried(job: Job, retries: int, error: Mapping[str, Any], delay: timedelta, changed: Message | None) -> AttemptEnd:
    """Give the task back to the server, which makes another attempt after the delay: the task asked for a retry.

    :param changed: what the next attempt runs in place of the job's message.
    """
    counts = job.earlier.after(job.attempt, retries)
    if changed is not None:
        written = [wire.plain(changed.envelope()), wire.write_payloads(changed.body)]
        tell({**details_of(counts), wire.CHANGED: written})
    elif not job.is_single:
        # To read the failure, the next attempt would have to read the failures of all pending tasks of the workflow.
        tell(details_of(counts))
    end = AttemptEnd(
        shorten_to_bytes(str(error.get("text")), REASON_LIMIT),
        wire.plain(fitting(dict(error), ERROR_LIMIT)),
        counts.written(),
        type=wire.RETRY,
        next_retry_delay=delay,
    )
    end.remote_traceback = shorten_to_bytes(str(error.get("traceback") or ""), TRACEBACK_LIMIT, "\n...\n")
    return end


def counts_not_kept(counts: AttemptCounts, reason: str) -> AttemptEnd:
    """Give back a task that can't begin, because the server did not take the counts of its earlier attempts."""
    again = counts.after(counts.attempts + 1, counts.retries).written()
    return AttemptEnd(reason, None, again, type=wire.IN_DOUBT, next_retry_delay=IN_DOUBT_PAUSE)


def worker_stopped(job: Job) -> AttemptEnd:
    """Give back a task that was stopped with its worker."""
    return in_order(job, "the worker was stopped", type=wire.WORKER_SHUTDOWN, next_retry_delay=AT_ONCE)


def not_begun(job: Job) -> AttemptEnd:
    """Give back a task whose function was not called, so that it runs elsewhere, even if it runs at most once."""
    message = job.message
    log.info("Task %s[%s] had not begun; it is given back", message.task, message.id)
    if not message.at_most_once:
        return worker_stopped(job)
    return run_anew("the worker was stopped", 0, message, None)


def in_doubt(job: Job, error: Mapping[str, Any]) -> AttemptEnd:
    """Ask again later whether the task is done. A task that runs at most once fails instead."""
    message = job.message
    if message.at_most_once:
        return failed_after(job.retries, error)
    log.error(
        "Task %s[%s]: whether it is done can't be told; asked again in %d s: %s",
        message.task,
        message.id,
        IN_DOUBT_PAUSE.total_seconds(),
        error.get("text"),
    )
    return in_order(job, str(error.get("text")), type=wire.IN_DOUBT, next_retry_delay=IN_DOUBT_PAUSE)


def run_anew(reason: str, delay: float, message: Message, changed_body: Sequence[Payload] | None) -> AttemptEnd:
    """Have the workflow run `message` in place of the message that it has."""
    body = None if changed_body is None else wire.write_payloads(changed_body)
    return AttemptEnd(reason, delay, wire.plain(message.envelope()), body, type=wire.RETRY_ANEW, non_retryable=True)
