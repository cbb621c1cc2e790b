"""The tasks that wait, as the server lists them: those with an eta, and those of a queue."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription
from temporalio.common import RawValue
from temporalio.service import RPCError, RPCStatusCode

from .. import states
from ..client.groups import tree_of
from ..client.members import describe_tree, ends_so_far, is_bundle, nearest_tree, signal_of_members
from ..client.tasks import BEFORE_FIRST_RUN, revoke, status_of
from ..exceptions import InvalidTaskError
from ..message import wire_names as wire
from ..message.ids import workflow_of
from ..message.message import Message
from ..message.nodes import TaskNode
from ..message.tree import Tree, is_tree
from ..payload.converter import from_raw

S = TypeVar("S")
T = TypeVar("T")

AT_A_TIME = 20
"""Calls to the server under way at once."""
MOST_LISTED = 500
"""Tasks that one listing of the delayed shows; each costs a call."""


async def revoke_all(client: Client, ids: Sequence[str], terminate: bool) -> None:
    """Revoke them; the members of one canvas with one signal for each of its workflows."""
    alone: list[str] = []
    lots: dict[str, list[str]] = {}
    for task_id in ids:
        lots.setdefault(workflow_of(task_id), []).append(task_id)

    async def tell(members: Sequence[str]) -> None:
        tree = await nearest_tree(client, members[0])
        if len(members) == 1 or tree is None or await exists(client, members[0]):
            alone.extend(members)  # what had its id before it became part of a canvas has a workflow of its own
        else:
            await signal_of_members(client, tree.id, wire.REVOKE, members)

    await for_each(list(lots.values()), tell)
    await for_each(alone, lambda task_id: revoke(client, task_id, terminate))


async def exists(client: Client, workflow_id: str) -> bool:
    try:
        await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def delayed(client: Client, queues: Sequence[str]) -> list[Message]:
    """The tasks of these queues that are not to start before a later moment, the nearest first."""
    now = datetime.datetime.now(datetime.timezone.utc)
    query = f"{waiting_in(queues)} AND ExecutionTime > '{now.isoformat()}'"
    found = [run async for run in client.list_workflows(query, limit=MOST_LISTED)]
    messages = await for_each(found, lambda run: message_of(client, run))
    return sorted((message for message in messages if message and message.eta), key=lambda message: str(message.eta))


async def purge(client: Client, queues: Sequence[str]) -> int:
    """End the tasks of these queues that have not begun; workflows that are no task's stay."""
    found = [run async for run in client.list_workflows(waiting_in(queues))]
    return sum(await for_each(found, lambda run: end_what_waits(client, run)))


async def end_what_waits(client: Client, run: WorkflowExecution) -> int:
    tree = await describe_tree(client, run.id)
    if tree is None:
        return int(await end_if_waiting(client, run))
    if not is_bundle(tree) and tree.history_length < BEFORE_FIRST_RUN:  # no worker has had it, and none may ever come
        return int(await end(client, run))
    return await revoke_waiting_members(client, tree)


async def revoke_waiting_members(client: Client, tree: WorkflowExecutionDescription) -> int:
    """Those of a canvas that wait for a worker; of a bundle also those that the server was not yet asked for."""
    pending = {each.activity_id: each for each in tree.raw_description.pending_activities}
    waiting = [member for member, each in pending.items() if each.state == WAITS and not each.HasField("last_failure")]
    asked_for = await tree_of(client, tree.id) if is_bundle(tree) else None
    if asked_for is not None:
        ids = [message.id for message in asked_for.messages if message.id not in pending]
        ended = await ends_so_far(client, tree, ids)
        waiting += [member for member in ids if member not in ended]
    if waiting:
        await signal_of_members(client, tree.id, wire.REVOKE, waiting)
    return len(waiting)


WAITS = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED


async def end_if_waiting(client: Client, run: WorkflowExecution) -> bool:
    if (await status_of(client, run.id)).state != states.PENDING or await message_of(client, run) is None:
        return False
    return await end(client, run)


async def end(client: Client, run: WorkflowExecution) -> bool:
    """False for one that has ended meanwhile."""
    try:
        await client.get_workflow_handle(run.id, run_id=run.run_id).terminate(reason="purged")
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def message_of(client: Client, run: WorkflowExecution) -> Message | None:
    """The message that a workflow was started with, if it is a task's, alone or with what is linked to it."""
    handle = client.get_workflow_handle(run.id, run_id=run.run_id)
    try:
        first = await handle.fetch_history_events(page_size=1).__anext__()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    payloads = first.workflow_execution_started_event_attributes.input.payloads
    codec = client.data_converter.payload_codec
    clear = await codec.decode(payloads) if codec else payloads
    found = [from_raw(RawValue(payload)) for payload in clear]
    with suppress(InvalidTaskError):
        if found and is_tree(found[0].data):
            root = Tree.decode(found).root
            return root.message if isinstance(root, TaskNode) else None
        if len(found) == 2:
            return Message.decode(found[0].data, found[1])
    return None


def waiting_in(queues: Sequence[str]) -> str:
    names = ", ".join("'" + queue.replace("\\", "\\\\").replace("'", "\\'") + "'" for queue in queues)
    return f"TaskQueue IN ({names}) AND ExecutionStatus = 'Running'"


async def for_each(items: Sequence[S], call: Callable[[S], Awaitable[T]]) -> list[T]:
    """Call with each item, `AT_A_TIME` at a time; the results in order."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(item: S) -> T:
        async with places:
            return await call(item)

    return list(await asyncio.gather(*map(one, items)))
