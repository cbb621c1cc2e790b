"""Step: give a task back whose type is paused. The server keeps the task until the type is resumed."""

from __future__ import annotations

import warnings
from datetime import timedelta

from temporalio import activity

from ...control.paused_types import pause_activity
from ...message import wire_names as wire
from ..attempt_end import AT_ONCE, in_order, run_anew
from ..job import Job
from ..taken_task import WorkerParts

# The server answers the last heartbeat of such an attempt by cancelling it, when the attempt has ended already.
warnings.filterwarnings("ignore", "Cannot find activity to cancel", UserWarning, append=True)

NEXT_LOOK = timedelta(minutes=1)
"""When a task is offered again on a server that can't pause activities."""


async def hold_if_paused(worker: WorkerParts, job: Job) -> None:
    """Return if the task may start. Raise what gives it back, if its type is paused.

    A task that runs at most once has one attempt at its activity. So it waits in another activity, which never runs the
    function, and gets an activity of its own again once the type is resumed.
    """
    message = job.message
    if not worker.orders.is_paused(message):
        if message.held:
            raise run_anew("its type is resumed", 0, message.copy(held=False), None)
        return
    if message.at_most_once and not message.held:
        raise run_anew("its type is paused", 0, message.copy(held=True), None)
    is_kept = job.workflow_id is not None and await pause_activity(
        activity.client(), job.workflow_id, job.run_id, activity.info().activity_id
    )
    raise in_order(job, "its type is paused", type=wire.PAUSED, next_retry_delay=AT_ONCE if is_kept else NEXT_LOOK)
