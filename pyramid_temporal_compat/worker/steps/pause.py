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
"""When a task is offered again that the server does not keep back."""


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
    # A member of a slice gets an activity of its own next, and the server keeps that back.
    at_once = runs_in_slice(job) or await is_kept_by_server(job)
    raise in_order(job, "its type is paused", type=wire.PAUSED, next_retry_delay=AT_ONCE if at_once else NEXT_LOOK)


async def is_kept_by_server(job: Job) -> bool:
    """Have the server keep the task's activity back. Return False if it does not."""
    info = activity.info()
    return await pause_activity(activity.client(), job.workflow_id, job.run_id, info.activity_id)


def runs_in_slice(job: Job) -> bool:
    """Return whether the activity runs several tasks. The server can keep back the whole activity only."""
    return activity.info().activity_type != job.message.task
