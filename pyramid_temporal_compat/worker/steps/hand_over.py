"""Step: a task that runs as a standalone activity, and needs a workflow after all, goes on as one under its id.

`self.replace` needs a workflow, and a retry on another queue, with another `expires` or with large arguments.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.service import RPCError

from ...client.connection import is_absent, is_transient
from ...enlist.dispatcher import start_workflow
from ...message import wire_names as wire
from ...message.lane import WORKFLOW
from ...message.message import Message
from ...message.tree import Tree, Unit
from ...payload.errors import to_wire
from ..attempt_end import AttemptEnd, failed
from ..heartbeat import beating
from ..job import Job

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two attempts to start the workflow while the server does not take it."""


async def refuse_handed_over(job: Job) -> None:
    """Raise if an earlier attempt has started the task's workflow, and then lost its worker."""
    if job.workflow_id is not None or not job.earlier.lost:
        return
    try:
        await activity.client().get_workflow_handle(job.message.id).describe()
    except RPCError as error:
        if not is_absent(error):
            raise AttemptEnd(error.message, type=wire.IN_DOUBT) from None
    else:
        raise _handed_over(job.message)


async def with_workflow(job: Job, end: AttemptEnd) -> AttemptEnd:
    """Return how the attempt ends. If its end is an order to a workflow that the task lacks, start the workflow."""
    if job.workflow_id is not None or end.type not in _UNITS:
        return end
    unit, delay, memo = _UNITS[end.type](job.message, *end.details)
    try:
        async with beating(job):
            await _start_until_taken(job.message, unit, timedelta(seconds=delay) if delay else None, memo)
    except RPCError as error:
        log.error("Task %s[%s] can't go on as a workflow: %s", job.message.task, job.message.id, error.message)
        return failed(to_wire(error))
    return _handed_over(job.message)


async def _start_until_taken(
    message: Message, unit: Unit, delay: timedelta | None, memo: Mapping[str, Any] | None
) -> None:
    """Start the workflow. The run has committed, so it waits for a server that is away."""
    while True:
        try:
            return await start_workflow(activity.client(), unit, delay, memo=memo, in_place_of=message)
        except RPCError as error:
            if not is_transient(error):
                raise
        await asyncio.sleep(PAUSE)


Start = tuple[Unit, float, Mapping[str, Any] | None]
"""What the workflow runs, after how many seconds, and its memo."""


def retry_in_workflow(message: Message, pause: float, envelope: Any, body: Any) -> Start:
    unit = Message.read(envelope, message.body if body is None else wire.read_payloads(body)).copy(lane=WORKFLOW)
    # The workflow compares the sender's clock with the server's at its own start. So this counts as sent now, by the
    # sender's clock.
    now = datetime.datetime.now(datetime.timezone.utc) - timedelta(seconds=message.ahead)
    return unit.leaving(now), pause, {wire.HANDED_ON: True}


def replacement_in_workflow(message: Message, written: Any) -> Start:
    tree = Tree.decode(wire.read_payloads(written))
    # A task ran before the tree, so its members count their countdown from their own turn.
    tree = dataclasses.replace(tree, from_parent=dataclasses.replace(tree.from_parent, later=True))
    return tree, 0, wire.memo_of(tree)


_UNITS: dict[str | None, Callable[..., Start]] = {
    wire.RETRY_ANEW: retry_in_workflow,
    wire.REPLACED: replacement_in_workflow,
}
"""The error types that ask a workflow to run something else, and how to read what it is."""


def _handed_over(message: Message) -> AttemptEnd:
    return AttemptEnd(f"{message.task} goes on as a workflow", type=wire.HANDED_OVER, non_retryable=True)
