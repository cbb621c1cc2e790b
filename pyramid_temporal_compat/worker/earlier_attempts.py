"""How the earlier attempts of a task ended: read from the server when another attempt begins.

The rules of counting are in `client/attempt_counts.py`. A first attempt asks the server nothing.
"""

from __future__ import annotations

import contextlib
import logging

from temporalio import activity
from temporalio.api.failure.v1 import Failure
from temporalio.client import AsyncActivityCancelledError, Client
from temporalio.service import RPCError

from ..client import standalone
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
    last = await _last_end(info) if info.workflow_id in (None, message.id) else LastEnd()
    counts = counts_before(info.attempt, known, last)
    if not last.is_retry:
        await _keep(counts)
    return counts


async def _last_end(info: activity.Info) -> LastEnd:
    """Return how the last attempt ended. Take it for a retry if the server does not say."""
    client = activity.client()
    try:
        failure = await _last_failure(client, info)
    except RPCError as error:
        unread_ends.say(
            "%d tasks run again, and the server did not say how their last attempts ended; they count as retries. "
            "The first: %s: %s",
            info.workflow_id or info.activity_id,
            error.message,
        )
        return LastEnd(is_retry=True)
    return LastEnd() if failure is None else await LastEnd.read(client, failure)


async def _last_failure(client: Client, info: activity.Info) -> Failure | None:
    """Return the failure of the last attempt. Return None if the server has ended the activity."""
    if info.workflow_id is None:
        found = await standalone.describe(client, info.activity_id, include_last_failure=True)
        return None if found is None else found.info.last_failure
    workflow = await client.get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id).describe()
    pending = (each for each in workflow.raw_description.pending_activities if each.activity_id == info.activity_id)
    activity_now = next(pending, None)
    return None if activity_now is None else activity_now.last_failure


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
