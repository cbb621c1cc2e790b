"""Read from histories what was added to a canvas while it ran: replacements of tasks, and members of a chord's header.

The tree that the workflow was started with lacks these additions. The history has them in the event with which the run
that asked for them ended.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from ..exceptions import InvalidTaskError
from ..message import wire_names as wire
from ..message.message import Message
from ..message.nodes import Node, TaskNode
from ..message.tree import Tree
from .history import ActivityCompleted, ActivityFailed, ActivityScheduled, WorkflowStarted, read_history
from .members import READERS


class CanvasAdditions:
    """What the tasks of some workflows have added, and what has replaced them, by the tasks' ids."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._replacements: dict[str, list[Node]] = defaultdict(list)
        self.added: dict[str, list[Node]] = {}
        self.single_tasks: dict[str, TaskNode] = {}
        """Tasks that have a workflow of their own."""
        self._read: set[str] = set()

    def replacements(self) -> Mapping[str, deque[Node]]:
        """Return for each replaced task its replacement, then the replacement's replacement, and so on."""
        return {member: deque(nodes) for member, nodes in self._replacements.items()}

    async def read(self, workflow_ids: Iterable[str]) -> bool:
        """Read the histories that were not read yet, and return whether there were any."""
        new = set(workflow_ids) - self._read
        self._read |= new
        turn = asyncio.Semaphore(READERS)

        async def read(workflow_id: str) -> None:
            async with turn:
                try:
                    await self._read_history(workflow_id)
                except RPCError as error:
                    if error.status is not RPCStatusCode.NOT_FOUND:  # a child workflow that has yet to start
                        raise

        await asyncio.gather(*map(read, new))
        return bool(new)

    async def _read_history(self, workflow_id: str) -> None:
        async for event in read_history(self._client, workflow_id):
            if isinstance(event, WorkflowStarted):
                unit = await event.unit()
                if isinstance(unit, Message):
                    self.single_tasks[workflow_id] = TaskNode(unit)
            elif isinstance(event, ActivityCompleted):
                (result,) = await event.result.payloads()
                with suppress(InvalidTaskError):
                    if added := [tree.root for tree in wire.added_trees(result)]:
                        self.added[_task_id(event.activity, workflow_id)] = added
            elif isinstance(event, ActivityFailed):
                cause: Any = await event.failure.error()
                if isinstance(cause, ApplicationError) and cause.type == wire.REPLACED:
                    with suppress(InvalidTaskError):
                        root = Tree.decode(wire.read_payloads(cause.details[0])).root
                        self._replacements[_task_id(event.activity, workflow_id)].append(root)


def _task_id(activity: ActivityScheduled, workflow_id: str) -> str:
    """Return the id of the task that an activity runs. temporalio numbers the activities of a single task's
    workflow."""
    return workflow_id if activity.activity_id.isdigit() else activity.activity_id
