"""Tasks that wait, as the server lists them: finds delayed tasks, purges queues, revokes tasks."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from .. import states
from ..client.history import start_of, started_with, tree_of
from ..client.members import describe_tree, ends_so_far, members_in_slices, nearest_tree, runs_bundle
from ..client.task_actions import revoke, signal_members
from ..client.task_status import BEFORE_FIRST_RUN, status_of
from ..message import wire_names as wire
from ..message.ids import workflow_of
from ..message.message import Message, total_size
from ..message.nodes import TaskNode
from ..message.tree import Tree

S = TypeVar("S")
T = TypeVar("T")

AT_A_TIME = 20
"""How many calls to the server run at the same time."""
MOST_LISTED = 500
"""How many delayed tasks one reply shows, at most. Each task costs a call to the server."""
MOST_LISTED_BYTES = 64 * 1024 * 1024
"""Bytes of delayed tasks that are held at a time. A reply has room for 2 MiB."""


async def revoke_all(client: Client, ids: Sequence[str], terminate: bool) -> None:
    """Revoke tasks. Members of one canvas are revoked with one signal for each of the canvas's workflows."""
    alone: list[str] = []
    by_workflow: dict[str, list[str]] = {}
    for task_id in ids:
        by_workflow.setdefault(workflow_of(task_id), []).append(task_id)

    async def revoke_members(members: Sequence[str]) -> None:
        tree = await nearest_tree(client, members[0])
        if len(members) == 1 or tree is None or await exists(client, members[0]):
            alone.extend(members)  # a task that had its id before it became part of a canvas has its own workflow
        else:
            await signal_members(client, tree.id, wire.REVOKE, members)

    await for_each(list(by_workflow.values()), revoke_members)
    await for_each(alone, lambda task_id: revoke(client, task_id, terminate))


async def exists(client: Client, workflow_id: str) -> bool:
    """Return whether the server knows a workflow with this id."""
    try:
        await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def delayed(client: Client, queues: Sequence[str]) -> list[Message]:
    """Return the tasks of these queues that must not start yet, the nearest eta first."""
    now = datetime.datetime.now(datetime.timezone.utc)
    query = f"{waiting_in(queues)} AND ExecutionTime > '{now.isoformat()}'"
    found = [run async for run in client.list_workflows(query, limit=MOST_LISTED)]
    messages: list[Message] = []
    size = 0
    for at in range(0, len(found), AT_A_TIME):
        starts = await for_each(found[at : at + AT_A_TIME], lambda run: start_of(client, run.id, run.run_id))
        for start in starts:  # decoded one after the other, because each may be a large canvas
            message = single_task(await start.unit()) if start else None
            if message is None or message.eta is None:
                continue
            size += total_size(message.encode())
            if size > MOST_LISTED_BYTES:
                return in_order(messages)
            messages.append(message)
    return in_order(messages)


def in_order(messages: Sequence[Message]) -> list[Message]:
    """Return the messages, the nearest eta first."""
    return sorted(messages, key=lambda message: str(message.eta))


async def purge(client: Client, queues: Sequence[str]) -> int:
    """End the tasks of these queues that have not begun, and return their number. Other workflows stay."""
    found = [run async for run in client.list_workflows(waiting_in(queues))]
    return sum(await for_each(found, lambda run: end_waiting_tasks(client, run)))


async def end_waiting_tasks(client: Client, run: WorkflowExecution) -> int:
    """End the tasks of one workflow that have not begun; return their number."""
    tree = await describe_tree(client, run.id)
    if tree is None:
        return int(await end_if_waiting(client, run))
    if not runs_bundle(tree) and tree.history_length < BEFORE_FIRST_RUN:
        # No worker has run it, and perhaps no worker ever will.
        return int(await end(client, run))
    return await revoke_waiting_members(client, tree)


async def revoke_waiting_members(client: Client, tree: WorkflowExecutionDescription) -> int:
    """Revoke the members of a canvas or bundle that wait for a worker; return their number.

    Members of a bundle count as waiting, too, before the workflow has asked the server to run them.
    """
    pending = {each.activity_id: each for each in tree.raw_description.pending_activities}
    fresh = {id for id, each in pending.items() if each.state == WAITS and not each.HasField("last_failure")}
    slices = {id for id, each in pending.items() if each.activity_type.name == wire.SLICE}
    in_slices = await members_in_slices(client, tree, slices) if slices else {}
    waiting = [member for member in pending if member in fresh - slices]
    waiting += [member for member, slice_id in in_slices.items() if slice_id in fresh and member not in pending]
    asked_for = await tree_of(client, tree.id) if runs_bundle(tree) else None
    if asked_for is not None:
        known = {*pending, *in_slices}
        ids = [message.id for message in asked_for.messages if message.id not in known]
        ended = await ends_so_far(client, tree, ids)
        waiting += [member for member in ids if member not in ended]
    if waiting:
        await signal_members(client, tree.id, wire.REVOKE, waiting)
    return len(waiting)


WAITS = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED


async def end_if_waiting(client: Client, run: WorkflowExecution) -> bool:
    """End a single task if it has not begun; return whether it was ended."""
    if (await status_of(client, run.id)).state != states.PENDING or await message_of(client, run) is None:
        return False
    return await end(client, run)


async def end(client: Client, run: WorkflowExecution) -> bool:
    """Terminate a workflow; return False if it has ended meanwhile."""
    try:
        await client.get_workflow_handle(run.id, run_id=run.run_id).terminate(reason="purged")
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def message_of(client: Client, run: WorkflowExecution) -> Message | None:
    """Return the message of a workflow that runs one task, with or without links. Return None for other workflows."""
    return single_task(await started_with(client, run.id, run.run_id))


def single_task(unit: Message | Tree | None) -> Message | None:
    """Return the message of one task, with or without links; None for any other canvas."""
    if isinstance(unit, Tree):
        return unit.root.message if isinstance(unit.root, TaskNode) else None
    return unit


def waiting_in(queues: Sequence[str]) -> str:
    """Return the query for running workflows of these queues."""
    names = ", ".join("'" + queue.replace("\\", "\\\\").replace("'", "\\'") + "'" for queue in queues)
    return f"TaskQueue IN ({names}) AND ExecutionStatus = 'Running'"


async def for_each(items: Sequence[S], call: Callable[[S], Awaitable[T]]) -> list[T]:
    """Call a function with each item, `AT_A_TIME` at a time. Return the results in the order of the items."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(item: S) -> T:
        async with places:
            return await call(item)

    return list(await asyncio.gather(*map(one, items)))
