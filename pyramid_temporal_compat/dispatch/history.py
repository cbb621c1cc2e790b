"""What a task's history says of it: how it was called, and where it ran last."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode

from ..exceptions import InvalidTaskError
from ..message import Message
from ..payload.converter import from_raw


@dataclass(frozen=True)
class Record:
    """A task as its history has it."""

    message: Message
    """As it was sent; a retry may have changed it since."""
    worker: str | None = None


async def record_of(client: Client, task_id: str) -> Record | None:
    """None for a task that the server does not know, and for a workflow that is no task's."""
    message, worker = None, None
    try:
        async for event in client.get_workflow_handle(task_id).fetch_history_events():
            if event.HasField("workflow_execution_started_event_attributes"):
                payloads = event.workflow_execution_started_event_attributes.input.payloads
                codec = client.data_converter.payload_codec
                clear = await codec.decode(payloads) if codec else payloads
                with suppress(InvalidTaskError):
                    if len(clear) == 2:
                        message = Message.decode(clear[0].data, from_raw(RawValue(clear[1])))
            elif event.HasField("activity_task_started_event_attributes"):
                worker = event.activity_task_started_event_attributes.identity
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return None if message is None else Record(message, worker)
