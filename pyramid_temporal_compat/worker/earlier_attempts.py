"""How the earlier attempts of a task ended: read from the server when another attempt begins.

The rules of counting are in `client/attempt_counts.py`. A first attempt asks the server nothing.
"""

from __future__ import annotations

import contextlib
import logging

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError
from temporalio.service import RPCError

from ..client.attempt_counts import AttemptCounts, LastEnd, counts_before, counts_in
from ..log_lines.throttled_log import ThrottledLog
from ..message.message import Message
from .attempt_end import counts_not_kept
from .heartbeat import details_of, last_heartbeat

unread_ends = ThrottledLog(logging.getLogger(__name__), logging.WARNING)


async def counts_of(message: Message) -> AttemptCounts:
    """Return how the earlier attempts of the task that this activity runs ended."""
    info = activity.info()
    known = counts_in(last_heartbeat(), message.retries)
    if known.attempts >= info.attempt - 1:
        return counts_before(info.attempt, known, LastEnd())
    last = await _last_end(info) if info.workflow_id == message.id else LastEnd()
    counts = counts_before(info.attempt, known, last)
    if not last.is_retry:
        await _keep(counts)
    return counts


async def _last_end(info: activity.Info) -> LastEnd:
    """Return how the last attempt ended. Take it for a retry if the server does not say."""
    client, workflow_id = activity.client(), info.workflow_id or ""
    try:
        found = await client.get_workflow_handle(workflow_id, run_id=info.workflow_run_id).describe()
    except RPCError as error:
        unread_ends.say(
            "%d tasks run again, and the server did not say how their last attempts ended; they count as retries. "
            "The first: %s: %s",
            workflow_id,
            error.message,
        )
        return LastEnd(is_retry=True)
    pending = (each for each in found.raw_description.pending_activities if each.activity_id == info.activity_id)
    activity_now = next(pending, None)
    return LastEnd() if activity_now is None else await LastEnd.read(client, activity_now.last_failure)


async def _keep(counts: AttemptCounts) -> None:
    """Write the counts into a heartbeat, and return when the server has it.

    The worker may be lost in the next moment. The failure of that loss takes the place of the failure that was read.
    """
    handle = activity.client().get_async_activity_handle(task_token=activity.info().task_token)
    try:
        with contextlib.suppress(AsyncActivityCancelledError):  # the next heartbeat brings the cancellation again
            await handle.heartbeat(details_of(counts))
    except RPCError as error:
        raise counts_not_kept(counts, error.message) from None
