"""Step: turn the end of an execution into the outcome that the event loop reports to Temporal."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from ... import states
from ...context import Context
from ...exceptions import PayloadTooLarge, Reject, Retry, TaskReplaced
from ...message.message import Message, total_size
from ...payload.errors import to_wire
from ...security.signed_places import place_of_retry, with_place
from ...task.call_options import make_message
from ...task.execution import Ending, without_our_frames
from ...task.task import RetryChanges, Task
from ..job import Job, Progress
from ..outcome import EndedWithoutResult, Failed, Outcome, Replaced, Retried
from .result import children_of, fitting, succeeded

if TYPE_CHECKING:
    from ...interfaces import AppLike

CHILDREN_OF_A_FAILURE = 256 * 1024
"""Bytes: the error beside them may take half a megabyte, and the server takes 2 MiB."""


def outcome_of(
    app: AppLike, task: Task, job: Job, request: Context, ending: Ending, progress: Progress | None
) -> Outcome:
    """Return the outcome.

    :param progress: the last state that the function set itself.
    """
    error = ending.error
    if error is None:
        return succeeded(job, request, ending.written, app.conf["ptemporal.payload_limit"])
    children = fitting(children_of(request), CHILDREN_OF_A_FAILURE, job.message)
    if isinstance(error, TaskReplaced):
        return Replaced(tuple(error.tree.encode()))
    if isinstance(error, Retry):
        try:
            return retried(app, task, job, error, request)
        except Exception as failure:  # what the retry asked for can't be sent: the task fails with this error
            return Failed(to_wire(without_our_frames(failure)), children=children)
    if ending.state == states.IGNORED:
        # A task that has set its own state and raises Ignore wants that state to stand.
        return EndedWithoutResult(progress or Progress(states.IGNORED, None), f"ignored: {error}")
    if ending.state == states.REJECTED and isinstance(error, Reject):
        return EndedWithoutResult(Progress(states.REJECTED, None), f"rejected: {error.reason}", requeue=True)
    return Failed(to_wire(error), isinstance(error, tuple(task.throws)), children)


def retried(app: AppLike, task: Task, job: Job, asked: Retry, request: Context) -> Retried:
    delay = asked.when or 0
    if isinstance(delay, datetime.datetime):
        delay = (delay - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    changes = asked.changes
    message = changed_message(app, task, job, request, changes) if changes else None
    return Retried(max(0.0, float(delay)), to_wire(asked), message)


def changed_message(app: AppLike, task: Task, job: Job, request: Context, changes: RetryChanges) -> Message:
    """Return the message of a retry that changes arguments or options."""
    message = job.message
    changed = make_message(
        app,
        message.task,
        request.args if changes.args is None else tuple(changes.args),
        request.kwargs if changes.kwargs is None else dict(changes.kwargs),
        {**request.as_execution_options(), "queue": message.queue, "priority": message.priority, **changes.options},
        task,
    ).copy(
        retries=job.retries + 1,
        chord=message.chord,
        follows=message.follows,
        linked=message.linked,
        scheduled=message.scheduled,
    )
    changed = with_place(app, changed, place_of_retry(app, message))
    size, limit = total_size(changed.encode()), app.conf["ptemporal.payload_limit"] * 3 // 4
    if size > limit:
        # It travels in the failure of this run, as base64.
        raise PayloadTooLarge(
            f"task {task.name!r}: the arguments of its retry take {size:,} bytes, the limit for these is {limit:,} "
            "(three quarters of ptemporal.payload_limit): store the data and pass its key"
        )
    return changed
