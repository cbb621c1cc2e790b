"""Everything that the server knows of one task: its call, its attempts, its error, and the tasks around it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.service import RPCError

from ..client import standalone
from ..client.connection import is_absent
from ..client.history import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    ActivityStarted,
    Event,
    WorkflowStarted,
    read_history,
)
from ..client.members import runs_tree, workflow_with
from ..client.read_status import failed_status
from ..client.status import Status
from ..client.task_status import status_of
from ..control.waiting_tasks import exists
from ..exceptions import CeleryError
from ..interfaces import AppLike
from ..message.ids import retry_id
from ..message.message import Message
from ..message.nodes import TaskNode
from ..message.tree import Tree
from ..payload import Payload
from ..payload.serializers import deserialize
from ..results.canvas_view import Line, outline
from ..settings.masking import masked, masked_text
from .retries import RETRY_OF
from .task_rows import error_line, readable, shortened

LONGEST_ARGUMENTS = 10_000
LONGEST_TRACEBACK = 20_000
"""Characters that are shown."""
LARGEST_RESULT = 256 * 1024
"""Bytes of a result that is decoded to be shown."""
MOST_CHILDREN = 200
MOST_LINES = 500
"""Tasks of a canvas that are drawn."""


@dataclass(frozen=True)
class Attempt:
    """The last attempt at one activity of a task. A task has further activities if its retries changed the message."""

    number: int
    """Attempt number, as the server counts it: the activity's earlier attempts left no event."""
    worker: str
    began: datetime.datetime | None
    ended: datetime.datetime | None = None
    outcome: str = ""
    """`done`, or `Type: text` of the error; "" while the attempt runs or waits."""


@dataclass(frozen=True)
class TaskDetails:
    """One task, canvas or bundle."""

    id: str
    name: str
    queue: str
    state: str
    workflow_id: str
    """The id of the workflow that runs the task: the task's own, or a canvas's."""
    run_id: str
    is_tree: bool = False
    ended_already: bool = False
    """Whether the task has ended, in any state."""
    paused: bool = False
    args: str = ""
    kwargs: str = ""
    error: str = ""
    traceback: str = ""
    result: str = ""
    retries: int = 0
    worker: str | None = None
    began: datetime.datetime | None = None
    eta: datetime.datetime | None = None
    expires: datetime.datetime | None = None
    ended: datetime.datetime | None = None
    priority: int | None = None
    parent_id: str | None = None
    root_id: str | None = None
    group: str | None = None
    scheduled: str | None = None
    """The name of the periodic task whose schedule started this run."""
    retry_of: str | None = None
    """The id of the task that this one runs anew."""
    retried_as: str | None = None
    """The id of the task that has run this one anew."""
    trace_id: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    children: Sequence[str] = ()
    attempts: Sequence[Attempt] = ()
    canvas: Sequence[Line] = ()
    """The canvas that the task is in, from its root on, but not more than `MOST_LINES` of it."""
    canvas_size: int = 0
    """How many lines the whole canvas has."""


async def read_task(client: Client, app: AppLike, task_id: str) -> TaskDetails | None:
    """Return what the server knows of a task; None if it does not have it."""
    status = await status_of(client, task_id)
    if not status.known:
        return None
    workflow_id = await workflow_with(client, task_id) or task_id
    try:
        found = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if not is_absent(error):
            raise
        return await _read_standalone(client, app, task_id, status)
    read = _HistoryReader(task_id)
    async for event in read_history(client, workflow_id, found.run_id):
        await read.add(event)
    if read.message is None and not read.is_ours:
        return None  # a workflow of another kind
    canvas = await outline(client, task_id) if runs_tree(found) else []
    pending = _pending(found, task_id, is_member=read.tree is not None)
    place = _Place(found.id, found.run_id, found.workflow_type, found.task_queue, pending)
    return _details(app, task_id, status, place, read, await retried_as(client, task_id, status), canvas)


async def _read_standalone(client: Client, app: AppLike, task_id: str, status: Status) -> TaskDetails | None:
    """Return what the server knows of a standalone activity; None if it has none with this id."""
    found = await standalone.describe(client, task_id, include_input=True)
    message = None if found is None else await readable(standalone.read_message(client, found))
    if found is None or message is None:
        return None
    info, read = found.info, _HistoryReader(task_id)
    read.message, read.began = message, info.schedule_time.ToDatetime(tzinfo=datetime.timezone.utc)
    place = _Place(task_id, info.run_id, info.activity_type.name, info.task_queue, [_attempt(info)])
    return _details(app, task_id, status, place, read, await retried_as(client, task_id, status), [])


async def retried_as(client: Client, task_id: str, status: Status) -> str | None:
    """Return the id of the task that has run this one anew; None if there is none."""
    again = retry_id(task_id)
    return again if status.ended and await exists(client, again) else None


@dataclass(frozen=True)
class _Place:
    """Where a task runs: its workflow, or its standalone activity."""

    id: str
    run_id: str
    type: str
    queue: str
    pending: Sequence[Attempt]


class _HistoryReader:
    """Collects from the events of a history what concerns one task."""

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id
        self.is_ours = False
        """Whether the workflow runs something of this package, even if this process can't decode it."""
        self.message: Message | None = None
        self.tree: Tree | None = None
        self.began: datetime.datetime | None = None
        self.attempts: list[Attempt] = []
        self._activities: set[str] = set()
        """The ids of the activities that ran the task: its own, and slices."""

    async def add(self, event: Event) -> None:
        if isinstance(event, WorkflowStarted):
            self.began, self.is_ours = event.time, event.is_ours
            unit = await readable(event.unit())
            if isinstance(unit, Tree):
                self.tree = unit
                self.message = next((each for each in unit.root.all_messages() if each.id == self._task_id), None)
            else:
                self.message = unit
        elif isinstance(event, ActivityScheduled):
            if self.tree is None:
                self._activities.add(event.activity_id)
            # A task that joined the canvas later is not in its tree, and a retry may change the arguments.
            call = await readable(event.call_of(None if self.tree is None else self._task_id))
            if call is not None:
                self._activities.add(event.activity_id)
                self.message = call[0]
        elif isinstance(event, ActivityStarted):
            if self._is_own(event.activity):
                self.attempts.append(Attempt(event.attempt, event.worker, event.time))
        elif isinstance(event, ActivityCompleted):
            self._end(event, event.activity, "done")
        elif isinstance(event, ActivityFailed):
            error = await readable(event.failure.error())
            self._end(event, event.activity, error_line(failed_status(error).error) if error else "failed")

    def _is_own(self, activity: ActivityScheduled) -> bool:
        return activity.activity_id in self._activities or activity.activity_id == self._task_id

    def _end(self, event: Event, activity: ActivityScheduled, outcome: str) -> None:
        if self._is_own(activity) and self.attempts:
            last = self.attempts[-1]
            self.attempts[-1] = Attempt(last.number, last.worker, last.began, event.time, outcome)


def _details(
    app: AppLike,
    task_id: str,
    status: Status,
    found: _Place,
    read: _HistoryReader,
    retried_as: str | None,
    canvas: Sequence[Line],
) -> TaskDetails:
    message, error = read.message, status.error or {}
    is_tree = read.tree is not None and task_id == found.id and not isinstance(read.tree.root, TaskNode)
    headers = message.headers if message else {}
    return TaskDetails(
        id=task_id,
        name=found.type if is_tree or message is None else message.task,
        queue=(message.queue if message else "") or status.queue or found.queue,
        state=status.state,
        workflow_id=found.id,
        run_id=found.run_id,
        is_tree=is_tree,
        ended_already=status.ended,
        paused=status.paused,
        args=shown_text(message.argsrepr) if message and not is_tree else "",
        kwargs=shown_text(message.kwargsrepr) if message and not is_tree else "",
        error=error_line(error or None),
        traceback=shortened(masked_text(str(error.get("traceback") or "")), LONGEST_TRACEBACK),
        result=shown_result(app, status.result) if status.result is not None else "",
        retries=status.retries,
        worker=status.worker or (read.attempts[-1].worker if read.attempts else None),
        began=read.began,
        eta=message.eta if message else None,
        expires=message.expires if message else None,
        ended=status.ended_at,
        priority=message.priority if message else None,
        parent_id=message.parent_id if message else None,
        root_id=message.root_id if message else None,
        group=message.group if message else None,
        scheduled=message.scheduled if message else None,
        retry_of=text_or_none(headers.get(RETRY_OF)),
        retried_as=retried_as,
        trace_id=trace_id_in(headers),
        headers={str(name): masked(str(name), value) for name, value in headers.items()},
        children=list(ids_in(status.children))[:MOST_CHILDREN],
        attempts=[*read.attempts, *found.pending],
        canvas=[replace(line, text=masked_text(line.text)) for line in canvas[:MOST_LINES]],
        canvas_size=len(canvas),
    )


def _pending(found: WorkflowExecutionDescription, task_id: str, is_member: bool) -> list[Attempt]:
    """Return the attempt that runs or waits now: the history has no event of it yet."""
    pending = found.raw_description.pending_activities
    return [_attempt(each) for each in pending if not is_member or each.activity_id == task_id][:1]


def _attempt(activity: Any) -> Attempt:
    """Return the last attempt that the description of an activity shows."""
    began = activity.last_started_time if activity.HasField("last_started_time") else None
    return Attempt(
        activity.attempt,
        activity.last_worker_identity,
        began.ToDatetime(tzinfo=datetime.timezone.utc) if began else None,
    )


def shown_text(text: str) -> str:
    return shortened(masked_text(text), LONGEST_ARGUMENTS)


def shown_result(app: AppLike, payload: Payload) -> str:
    """Return a result as text, shortened, with secrets masked."""
    if len(payload.data) > LARGEST_RESULT:
        return f"<{len(payload.data):,} bytes>"
    try:
        value = deserialize(payload, app.conf["accept_content"], "accept_content")
        return shown_text(repr(masked("", value)))
    except (CeleryError, ValueError, RecursionError) as error:
        return f"<can't be shown: {error}>"
    except Exception as error:  # a decoder or __repr__ of the application's own
        return f"<can't be shown: {type(error).__name__}>"


def ids_in(written: Any) -> list[str]:
    """Return the ids of the tasks among results that `AsyncResult.as_tuple` has written."""
    found: list[str] = []
    for each in written or ():
        (task_id, _), members = each
        found += [task_id] if members is None else ids_in(members)
    return found


def trace_id_in(headers: Mapping[str, Any]) -> str | None:
    """Return the trace id that W3C's header `traceparent` names."""
    parts = str(headers.get("traceparent") or "").split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 and parts[1].isalnum() else None


def text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
