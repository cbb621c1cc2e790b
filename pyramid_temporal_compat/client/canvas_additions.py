"""What has come into a canvas while it ran: what was put in the place of tasks, and what they added to their chords.

No plan has it: it is in the histories, as the runs that asked for it ended.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from ..exceptions import InvalidTaskError
from ..message import wire_names as wire
from ..message.message import Message
from ..message.nodes import Node, TaskNode
from ..message.tree import Tree, is_tree
from ..payload.converter import from_raw
from ..worker.workflows.node_values import added_with
from .members import READERS


class Growth:
    """What the tasks of some workflows have become, and have added, by their ids."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._replacing: dict[str, list[Node]] = defaultdict(list)
        self.added: dict[str, list[Node]] = {}
        self.alone: dict[str, TaskNode] = {}
        """Tasks that were sent by themselves."""
        self._read: set[str] = set()

    def replacing(self) -> Mapping[str, deque[Node]]:
        """For each task what took its place, then what took the place of that, and so on."""
        return {member: deque(nodes) for member, nodes in self._replacing.items()}

    async def read(self, workflow_ids: Iterable[str]) -> bool:
        """Read those that were not read yet; gives whether there were any."""
        new = set(workflow_ids) - self._read
        self._read |= new
        turn = asyncio.Semaphore(READERS)

        async def read(workflow_id: str) -> None:
            async with turn:
                try:
                    await self._read_history(workflow_id)
                except RPCError as error:
                    if error.status is not RPCStatusCode.NOT_FOUND:  # one that has not begun
                        raise

        await asyncio.gather(*map(read, new))
        return bool(new)

    async def _read_history(self, workflow_id: str) -> None:
        converter = self._client.data_converter
        scheduled: dict[int, str] = {}
        async for event in self._client.get_workflow_handle(workflow_id).fetch_history_events():
            if event.HasField("workflow_execution_started_event_attributes"):
                payloads = event.workflow_execution_started_event_attributes.input.payloads
                written = await converter.decode(payloads, [RawValue] * len(payloads))
                if len(written) == 2 and not is_tree(written[0].payload.data):
                    with suppress(InvalidTaskError):
                        envelope, body = map(from_raw, written)
                        self.alone[workflow_id] = TaskNode(Message.decode(envelope.data, body))
            elif event.HasField("activity_task_scheduled_event_attributes"):
                activity_id = event.activity_task_scheduled_event_attributes.activity_id
                # The client library numbers the activities of a task by itself.
                scheduled[event.event_id] = workflow_id if activity_id.isdigit() else activity_id
            elif event.HasField("activity_task_completed_event_attributes"):
                completed = event.activity_task_completed_event_attributes
                (raw,) = await converter.decode(completed.result.payloads, [RawValue])
                with suppress(InvalidTaskError):
                    if added := [tree.root for tree in added_with(from_raw(raw))]:
                        self.added[scheduled[completed.scheduled_event_id]] = added
            elif event.HasField("activity_task_failed_event_attributes"):
                failed = event.activity_task_failed_event_attributes
                cause: Any = await converter.decode_failure(failed.failure)
                if isinstance(cause, ApplicationError) and cause.type == wire.REPLACED:
                    with suppress(InvalidTaskError):
                        root = Tree.decode(wire.read_payloads(cause.details[0])).root
                        self._replacing[scheduled[failed.scheduled_event_id]].append(root)
