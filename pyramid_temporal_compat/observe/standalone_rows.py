"""Rows of tasks that are standalone activities, which have no workflow."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from temporalio.api.workflowservice.v1 import ListActivityExecutionsRequest
from temporalio.client import Client

from .. import states
from ..client import standalone
from ..client.for_each import for_each
from ..client.members import READERS
from .task_rows import TaskRow, readable, shown_arguments, with_status


async def standalone_rows(client: Client, query: str, token: bytes, size: int) -> tuple[Sequence[TaskRow], bytes]:
    """Return the rows of one page of the server, and the token of the next page; b"" after the last one."""
    request = ListActivityExecutionsRequest(
        namespace=client.namespace, query=query, page_size=size, next_page_token=token
    )
    listed = await client.workflow_service.list_activity_executions(request, retry=True)
    rows = await for_each(listed.executions, lambda each: _row(client, each.activity_id), READERS)
    return [row for row in rows if row is not None], listed.next_page_token


async def _row(client: Client, task_id: str) -> TaskRow | None:
    """Return the row of a task; None if the activity is another's, or has gone on as a workflow."""
    found = await standalone.describe(
        client,
        task_id,
        include_input=True,
        include_heartbeat_details=True,
        include_last_failure=True,
        include_outcome=True,
    )
    message = None if found is None else await readable(standalone.read_message(client, found))
    if found is None or message is None:
        return None
    status = await readable(standalone.status_in(client, found))
    if status is None:
        return None
    return with_status(
        TaskRow(
            task_id,
            message.task,
            message.queue,
            states.PENDING,
            arguments=shown_arguments(message),
            began=found.info.schedule_time.ToDatetime(tzinfo=datetime.timezone.utc),
            eta=message.eta,
        ),
        status,
    )
