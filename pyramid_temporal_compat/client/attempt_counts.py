"""Count how the earlier attempts of a task ended: how often it was retried, and how often it lost its worker.

The server counts attempts, and keeps two things of them: the details of the last heartbeat, and the failure of the last
attempt. A worker writes the counts into one of the two. A retry writes them into its failure, because Temporal Cloud
bills a heartbeat and no failure. The next attempt reads the failure from the description of the workflow.

An attempt that loses its worker writes nothing, and its failure takes the place of the failure before it. So the
attempt after a lost one writes the counts into a heartbeat before the task begins. Some attempts before a lost one
may be in no counts. They count as retries, because a retry writes no heartbeat.

One of them may have been a loss instead. Then the attempt after the loss was lost, too, before its heartbeat reached
the server. This heartbeat is the attempt's second call to the server, some ten milliseconds after the attempt began.
The first of the two losses counts as a retry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from temporalio.api.failure.v1 import Failure
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from ..message import wire_names as wire

LOST = (wire.WORKER_LOST, wire.REJECTED)
"""Types of failures, without counts, that a worker gives a task whose process has ended: by itself, or at its limit."""


@dataclass(frozen=True)
class AttemptCounts:
    """How the first `attempts` attempts of an activity ended."""

    retries: int = 0
    """Retries of the task, which may have had activities before this one."""
    orderly: int = 0
    """Attempts that ended with an answer of the worker. The other attempts lost their worker."""
    attempts: int = 0

    @property
    def lost(self) -> int:
        return self.attempts - self.orderly

    def after(self, attempts: int, retries: int) -> AttemptCounts:
        """Return the counts after more attempts, which all ended in order. `retries` is the new total."""
        return AttemptCounts(retries, self.orderly + attempts - self.attempts, attempts)

    def written(self) -> dict[str, int]:
        """Return the counts for a heartbeat or a failure."""
        return {wire.RETRIES: self.retries, wire.ORDERLY: self.orderly, wire.COUNTED: self.attempts}


def counts_in(details: Any, retries: int = 0) -> AttemptCounts:
    """Return the counts that a heartbeat or a failure carries. Anyone may have written it.

    :param retries: retries before the activity.
    """
    found = details if isinstance(details, Mapping) else {}
    attempts = wire.count(found.get(wire.COUNTED))
    orderly = min(attempts, wire.count(found.get(wire.ORDERLY)))
    return AttemptCounts(wire.count(found.get(wire.RETRIES), retries), orderly, attempts)


@dataclass(frozen=True)
class LastEnd:
    """How the last attempt ended, as its failure shows it."""

    counts: AttemptCounts = AttemptCounts()
    """The counts in the failure. A failure without counts has counts of no attempts."""
    is_retry: bool = False
    is_lost: bool = False

    @classmethod
    async def read(cls, client: Client, failure: Failure) -> LastEnd:
        """Read the failure as the server describes it."""
        stored = failure_of_worker(failure)
        kind = stored.application_failure_info.type
        is_retry, is_lost = kind == wire.RETRY, stored.HasField("timeout_failure_info") or kind in LOST
        if len(stored.application_failure_info.details.payloads) < 2:
            return cls(is_retry=is_retry, is_lost=is_lost)
        try:
            error = await client.data_converter.decode_failure(stored)
        except (ValueError, RuntimeError):  # details that no worker of this package has written
            return cls(is_retry=is_retry)
        details = error.details if isinstance(error, ApplicationError) else ()
        return cls(counts_in(details[1]) if len(details) > 1 else AttemptCounts(), is_retry)


def failure_of_worker(failure: Failure) -> Failure:
    """Return the failure that the worker sent. The server wraps one that is too large, and drops its details."""
    return failure.cause if failure.HasField("server_failure_info") and failure.HasField("cause") else failure


def counts_before(attempt: int, known: AttemptCounts, last: LastEnd) -> AttemptCounts:
    """Return the counts of all attempts before this one.

    :param known: the counts in the last heartbeat.
    :param last: how the attempt just before this one ended.
    """
    ended = attempt - 1
    if known.attempts >= ended:  # more than these have ended if an operator has reset the activity
        return AttemptCounts(known.retries, max(0, ended - known.lost), ended)
    if last.counts.attempts == ended:
        return last.counts
    # A worker that can't read the message writes no counts either, so its attempts may not have been retries.
    unknown = ended - 1 - known.attempts
    retries = known.retries + (unknown if last.is_retry or last.is_lost else 0)
    before = known.after(ended - 1, retries)
    if last.is_retry:
        return before.after(ended, retries + 1)
    return AttemptCounts(before.retries, before.orderly, ended)
