"""Read from a task's history how the task was called, and which worker ran it last."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from ..message.message import Message
from ..message.tree import Tree
from . import standalone
from .history import ActivityScheduled, ActivityStarted, WorkflowStarted, read_history
from .members import workflow_with


@dataclass(frozen=True)
class TaskHistory:
    """A task as its history shows it."""

    message: Message
    """The message as it was sent. A retry that changes arguments changes it too."""
    worker: str | None = None
    """The worker that ran the task last."""


async def read_task_history(client: Client, task_id: str) -> TaskHistory | None:
    """Return what the history shows of a task; None if the server does not know the task."""
    return await _in_workflow(client, task_id) or await _of_standalone(client, task_id)


async def _of_standalone(client: Client, task_id: str) -> TaskHistory | None:
    found = await standalone.describe(client, task_id, include_input=True)
    message = found and await standalone.read_message(client, found)
    return TaskHistory(message, found.info.last_worker_identity or None) if found and message else None


async def _in_workflow(client: Client, task_id: str) -> TaskHistory | None:
    container = await workflow_with(client, task_id)
    message, worker = None, None
    own_activities: set[str] = set()
    try:
        async for event in read_history(client, container or task_id):
            if isinstance(event, WorkflowStarted):
                unit = await event.unit()
                message = _message_of(unit, task_id) if isinstance(unit, Tree) else unit
            elif isinstance(event, ActivityScheduled):
                # The start has no message of a task that came later: a link, an addition or a replacement. And a
                # retry can change the arguments.
                call = await event.call_of(None if container is None else task_id)
                if call is not None:
                    message = call[0]
                    own_activities.add(event.activity_id)
            elif isinstance(event, ActivityStarted) and event.activity.activity_id in own_activities:
                worker = event.worker
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return None if message is None else TaskHistory(message, worker)


def _message_of(tree: Tree, task_id: str) -> Message | None:
    return next((message for message in tree.messages if message.id == task_id), None)
