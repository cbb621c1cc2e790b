"""Tasks that wait as standalone activities: counts them, finds delayed ones, and purges queues.

`waiting_tasks` asks here.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Sequence

from temporalio.api.workflowservice.v1 import DescribeActivityExecutionResponse
from temporalio.client import ActivityExecution, Client

from .. import states
from ..client import standalone
from ..message.message import Message

AT_A_TIME = 20
"""How many activities are described at the same time."""


async def count(client: Client, query: str) -> int:
    """Return how many standalone activities the query finds."""
    if not await standalone.has_standalone_activities(client):
        return 0
    return (await client.count_activities(query)).count


async def delayed(client: Client, in_queues: str, limit: int) -> list[Message]:
    """Return the tasks that must not start yet.

    :param in_queues: the query for what runs in the queues.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    messages: list[Message] = []
    async for found in _described(client, f"{in_queues} AND ExecutionTime > '{now.isoformat()}'", limit):
        message = await standalone.read_message(client, found)
        if message is not None and message.eta is not None:
            messages.append(message)
    return messages


async def purge(client: Client, in_queues: str) -> int:
    """End the tasks that have not begun, and return their number. Activities that are no tasks stay."""
    ended = 0
    async for found in _described(client, in_queues):
        status = await standalone.status_in(client, found)
        waits = status is not None and status.state == states.PENDING
        if waits and await standalone.read_message(client, found) is not None:
            ended += await standalone.terminate(client, found.info, "purged")
    return ended


async def _described(
    client: Client, query: str, limit: int | None = None
) -> AsyncIterator[DescribeActivityExecutionResponse]:
    """Yield the descriptions of the standalone activities that the query finds."""
    if not await standalone.has_standalone_activities(client):
        return
    batch: list[ActivityExecution] = []
    async for listed in client.list_activities(query, limit=limit):
        batch.append(listed)
        if len(batch) == AT_A_TIME:
            for found in await _describe_all(client, batch):
                yield found
            batch = []
    for found in await _describe_all(client, batch):
        yield found


async def _describe_all(client: Client, listed: Sequence[ActivityExecution]) -> list[DescribeActivityExecutionResponse]:
    asked = (
        standalone.describe(client, each.activity_id, include_input=True, include_last_failure=True) for each in listed
    )
    return [found for found in await asyncio.gather(*asked) if found is not None]
