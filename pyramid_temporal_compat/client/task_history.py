"""What a task's history says of it: how it was called, and where it ran last."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode

from ..exceptions import InvalidTaskError
from ..message.message import Message
from ..message.tree import Tree, is_tree
from ..payload import Payload
from ..payload.converter import from_raw
from .members import workflow_with


@dataclass(frozen=True)
class Record:
    """A task as its history has it."""

    message: Message
    """As it was sent, or as it ran last."""
    worker: str | None = None


async def record_of(client: Client, task_id: str) -> Record | None:
    """None for a task that the server does not know, and for a workflow that is no task's."""
    container = await workflow_with(client, task_id)
    reader = client.get_workflow_handle(container or task_id).fetch_history_events()
    message, worker, own = None, None, set()
    try:
        async for event in reader:
            if event.HasField("workflow_execution_started_event_attributes"):
                written = event.workflow_execution_started_event_attributes.input.payloads
                message = _message_in(await _clear(client, written), task_id)
            elif event.HasField("activity_task_scheduled_event_attributes"):
                scheduled = event.activity_task_scheduled_event_attributes
                if container is None or scheduled.activity_id == task_id:
                    own.add(event.event_id)
                    # What is linked, added or put in a task's place is not in the plan; and a retry changes arguments.
                    message = _message_of(await _clear(client, scheduled.input.payloads[:2])) or message
            elif event.HasField("activity_task_started_event_attributes"):
                started = event.activity_task_started_event_attributes
                worker = started.identity if started.scheduled_event_id in own else worker
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return None if message is None else Record(message, worker)


async def _clear(client: Client, payloads: Sequence[Any]) -> list[Payload]:
    codec = client.data_converter.payload_codec
    return [from_raw(RawValue(payload)) for payload in (await codec.decode(payloads) if codec else payloads)]


def _message_in(payloads: Sequence[Payload], task_id: str) -> Message | None:
    """The task's message among what its workflow was started with."""
    with suppress(InvalidTaskError):
        if payloads and is_tree(payloads[0].data):
            return next((message for message in Tree.decode(payloads).messages if message.id == task_id), None)
    return _message_of(payloads)


def _message_of(payloads: Sequence[Payload]) -> Message | None:
    with suppress(InvalidTaskError):
        if len(payloads) == 2:
            return Message.decode(payloads[0].data, payloads[1])
    return None
