"""Step: tell Temporal how the run ended. The pool has logged it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from ...message import wire_names as wire
from ...message.backoff import exponential_pause
from ...message.message import Message, total_size
from ...payload.converter import to_raw
from ...security.signed_results import with_signature
from ..attempt_end import AT_ONCE, AttemptEnd, failed_after, in_doubt, in_order, retried, run_anew
from ..heartbeat import last_heartbeat
from ..job import Job
from ..outcome import (
    DatabaseAway,
    EndedWithoutResult,
    Failed,
    InDoubt,
    Outcome,
    Replaced,
    Retried,
    Succeeded,
)
from ..taken_task import WorkerParts

log = logging.getLogger(__name__)

FIRST_ABSENCE, LONGEST_ABSENCE = 1.0, 30.0
"""How many seconds a task waits for a database that is away: twice as long each time."""
SMALL = 1536
"""Size in bytes of a changed message that may travel in heartbeats. The server has 8 MiB for the heartbeats and
failures of one workflow, which may run a thousand tasks."""
SEEN_BY_SERVER = (
    *("task", "id", "queue", "priority", "fairness_key", "fairness_weight"),
    *("expires", "heartbeat_timeout", "at_most_once"),
)
"""The parts of a message that the server was told when the workflow asked for the activity."""


def tell_temporal(worker: WorkerParts, job: Job, outcome: Outcome) -> Any:
    """Return the activity's result, or raise how the attempt ends."""
    if isinstance(outcome, Succeeded):
        written = wire.with_retries(wire.with_children(outcome.result, outcome.children), job.retries)
        return to_raw(wire.with_added(written, outcome.added))
    if isinstance(outcome, EndedWithoutResult) and not outcome.requeue:
        return to_raw(wire.with_retries(wire.ended_as(outcome.state.state, outcome.state.meta), job.retries))
    raise _end(worker, job, outcome)


def _end(worker: WorkerParts, job: Job, outcome: Outcome) -> AttemptEnd:
    if isinstance(outcome, Replaced):
        payloads = wire.write_payloads(outcome.tree)
        return AttemptEnd("replaced", payloads, type=wire.REPLACED, non_retryable=True)
    if isinstance(outcome, Retried):
        return _retry(job, outcome)
    if isinstance(outcome, InDoubt):
        return in_doubt(job, outcome.error)
    if isinstance(outcome, DatabaseAway):
        return _wait_for_database(job, str(outcome.error.get("text")))
    if isinstance(outcome, EndedWithoutResult):
        return in_order(job, outcome.reason, type=wire.REJECTED, next_retry_delay=AT_ONCE)
    assert isinstance(outcome, Failed), outcome
    children = {"children": list(outcome.children)} if outcome.children else {}
    error = with_signature(worker.app, job.message, outcome.error)
    return failed_after(job.retries, {**error, **children})


def _wait_for_database(job: Job, text: str) -> AttemptEnd:
    pause = exponential_pause(FIRST_ABSENCE, job.attempt - 1, LONGEST_ABSENCE)
    log.warning(
        "Task %s[%s]: its database is away, and it runs again in %d s: %s",
        job.message.task,
        job.message.id,
        pause,
        text,
    )
    return in_order(job, text, type=wire.DATABASE_AWAY, next_retry_delay=timedelta(seconds=pause))


def _retry(job: Job, outcome: Retried) -> AttemptEnd:
    """Have the server retry the activity if it can; else the workflow runs another activity."""
    message, retries = outcome.message, job.retries + 1
    if not job.message.at_most_once and (message is None or is_same_to_the_server(job.message, message)):
        delay = max(AT_ONCE, timedelta(seconds=outcome.delay))
        return retried(job, retries, outcome.error, delay, message)
    again = message or job.message.copy(retries=retries)
    same_body = again.body == job.message.body and wire.CHANGED not in last_heartbeat()
    return run_anew(str(outcome.error.get("text")), outcome.delay, again, None if same_body else again.body)


def is_same_to_the_server(message: Message, changed: Message) -> bool:
    """Return whether the changed message differs only in what the worker reads, so that heartbeats can carry it.

    Then the server need not be asked for another activity. A workflow has room for some ten thousand activities, and
    a task that counts in its arguments may be retried for ever.
    """
    alike = all(getattr(message, name) == getattr(changed, name) for name in SEEN_BY_SERVER)
    return alike and message.expires is None and total_size(changed.encode()) <= SMALL
