"""Tasks that wait, as the server lists them: counts them, finds delayed tasks, purges queues, revokes tasks."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from .. import states
from ..client.for_each import for_each
from ..client.history import ActivityScheduled, WorkflowStarted, read_history, start_of, tree_of
from ..client.list_filter import one_of
from ..client.members import describe_tree, ends_so_far, members_in_slices, nearest_tree, runs_bundle
from ..client.queues import QueueState, describe_both
from ..client.task_actions import revoke, signal_members
from ..client.task_status import BEFORE_FIRST_RUN, status_of
from ..message import wire_names as wire
from ..message.ids import workflow_of
from ..message.message import Message, total_size
from ..message.nodes import TaskNode
from ..message.tree import TREE_TYPES, Tree
from . import waiting_standalone

AT_A_TIME = 20
"""How many delayed tasks are read at the same time."""
MOST_LISTED = 500
"""How many delayed tasks one reply shows, at most. Each task costs a call to the server when it is first listed."""
MOST_LISTED_BYTES = 64 * 1024 * 1024
"""Bytes of delayed tasks that are held at a time. A reply has room for 2 MiB."""
MOST_KEPT_BYTES = 16 * 1024
"""Bytes of a delayed task that is kept for the next listing, at most: together 8 MiB."""


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


class DelayedTasks:
    """Lists the tasks of some queues that must not start yet.

    The list of workflows shows their ids; what they were started with is in their histories, one call for each. A start
    never changes, so small messages are kept for the next listing: monitors list every few seconds.
    """

    def __init__(self, client: Client, queues: Callable[[], Sequence[str]]) -> None:
        """`queues` returns the queues whose tasks are listed, which may change."""
        self._client = client
        self._queues = queues
        self._kept: dict[str, Message] = {}
        """Messages of the last listing, by the id of the workflow's run."""
        self._listing = asyncio.Lock()

    async def all(self) -> list[Message]:
        """Return the tasks, the nearest eta first."""
        return in_order([*await self._read(await self._listed()), *await self._standalone()])

    async def among(self, ids: Collection[str]) -> list[Message]:
        """Return the delayed tasks with these ids, the nearest eta first."""
        in_workflows = await self._read([run for run in await self._listed() if run.id in ids])
        return in_order([*in_workflows, *(message for message in await self._standalone() if message.id in ids)])

    async def _standalone(self) -> list[Message]:
        return await waiting_standalone.delayed(self._client, running_in(self._queues()), MOST_LISTED)

    async def _listed(self) -> list[WorkflowExecution]:
        now = datetime.datetime.now(datetime.timezone.utc)
        query = f"{running_in(self._queues())} AND ExecutionTime > '{now.isoformat()}'"
        listed = [run async for run in self._client.list_workflows(query, limit=MOST_LISTED)]
        runs = {run.run_id for run in listed}
        self._kept = {run_id: message for run_id, message in self._kept.items() if run_id in runs}
        return listed

    async def _read(self, listed: Sequence[WorkflowExecution]) -> list[Message]:
        messages: list[Message] = []
        size = 0
        async with self._listing:  # one listing holds up to `MOST_LISTED_BYTES`
            for at in range(0, len(listed), AT_A_TIME):
                for run_id, message in (await self._read_some(listed[at : at + AT_A_TIME])).items():
                    size += total_size(message.encode())
                    if size > MOST_LISTED_BYTES:
                        return messages
                    messages.append(message)
                    if message.rough_size <= MOST_KEPT_BYTES:
                        self._kept[run_id] = message
        return messages

    async def _read_some(self, runs: Sequence[WorkflowExecution]) -> dict[str, Message]:
        """Return the messages of the delayed tasks among these runs, by the id of the run."""
        unread = [run for run in runs if run.run_id not in self._kept]
        starts = await for_each(unread, lambda run: start_of(self._client, run.id, run.run_id))
        found = {run.run_id: self._kept[run.run_id] for run in runs if run.run_id in self._kept}
        for run, start in zip(unread, starts, strict=True):
            message = single_task(await start.unit()) if start else None  # one by one: each may be a large canvas
            if message is not None and message.eta is not None:
                found[run.run_id] = message
        return found


def in_order(messages: Sequence[Message]) -> list[Message]:
    """Return the messages, the nearest eta first."""
    return sorted(messages, key=lambda message: str(message.eta))


async def purge(client: Client, queues: Sequence[str]) -> int:
    """End the tasks of these queues that have not begun, and return their number. Other workflows stay."""
    found = [run async for run in client.list_workflows(running_in(queues))]
    in_workflows = await for_each(found, lambda run: end_waiting_tasks(client, run))
    return sum(in_workflows) + await waiting_standalone.purge(client, running_in(queues))


async def end_waiting_tasks(client: Client, run: WorkflowExecution) -> int:
    """End the tasks of one workflow that have not begun; return their number."""
    tree = await tree_in(client, run) if is_listed_as_tree(run) else None
    if tree is None:
        return int(await waits(client, run) and await end(client, run))
    if not has_begun(tree):
        # No worker has run it, and perhaps no worker ever will.
        return await tasks_at_start(client, run) if await end(client, run) else 0
    members = await waiting_members(client, tree)
    if members:
        await signal_members(client, tree.id, wire.REVOKE, members)
    return len(members)


async def waits(client: Client, run: WorkflowExecution) -> bool:
    """Return whether a workflow runs a single task that has not begun. Most of these need one call to the server."""
    try:
        async for event in read_history(client, run.id, run.run_id, page_size=BEFORE_FIRST_RUN + 1):
            if isinstance(event, WorkflowStarted) and single_task(await event.unit()) is None:
                return False
            if isinstance(event, ActivityScheduled):
                return (await status_of(client, run.id)).state == states.PENDING
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def queue_state(client: Client, queue: str) -> QueueState:
    """Return how many tasks wait in a queue, and how many workers serve it."""
    return await in_tasks(client, (await describe_both(client, queue)).as_held(queue))


async def in_tasks(client: Client, held: QueueState) -> QueueState:
    """Return the state of a queue, counted in tasks.

    :param held: the state of the queue, counted as the server counts.

    The server counts what it holds in the queue: a bundle that waits for its first worker as one, and also workflows
    that were terminated since. So single tasks are counted by the lists of workflows and standalone activities. These
    lists also have tasks that run, so the count is at most what the server holds. Canvases and bundles are counted by
    their members.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    due = f"{running_in([held.queue])} AND ExecutionTime <= '{now.isoformat()}'"
    trees = [run async for run in client.list_workflows(f"{due} AND {one_of('WorkflowType', TREE_TYPES)}")]
    single = (await client.count_workflows(due)).count - len(trees) + await waiting_standalone.count(client, due)
    counted = await for_each(trees[:MOST_TREES_READ], lambda run: count_in_tree(client, run))
    others = [Counted(await tasks_at_start(client, run), 1) for run in trees[MOST_TREES_READ:]]
    held_for_trees = sum(tree.held for tree in (*counted, *others))
    waiting = min(single, max(0, held.message_count - held_for_trees))
    return held._replace(message_count=waiting + sum(tree.tasks for tree in (*counted, *others)))


MOST_TREES_READ = 200
"""How many canvases and bundles of a queue are asked for their members. Each costs up to three calls to the server.
All members of the others count as waiting."""


class Counted(NamedTuple):
    """How many tasks of a canvas or bundle wait, and how many entries of the queue the server holds for them."""

    tasks: int
    held: int


async def count_in_tree(client: Client, run: WorkflowExecution) -> Counted:
    """Count the tasks of a canvas or bundle that wait for a worker."""
    tree = await tree_in(client, run)
    if tree is None:
        return Counted(0, 0)
    if not has_begun(tree):
        return Counted(await tasks_at_start(client, run), 1)
    return Counted(len(await waiting_members(client, tree)), len(waiting_activities(tree)))


def is_listed_as_tree(run: WorkflowExecution) -> bool:
    """Return whether the server lists the workflow as one that runs a canvas or bundle."""
    return wire.TREE in run.raw_info.memo.fields


async def tree_in(client: Client, run: WorkflowExecution) -> WorkflowExecutionDescription | None:
    """Return the description of a listed canvas or bundle; None if it has ended meanwhile."""
    tree = await describe_tree(client, run.id)
    return tree if tree is not None and tree.status is WorkflowExecutionStatus.RUNNING else None


def has_begun(tree: WorkflowExecutionDescription) -> bool:
    """Return whether a worker has run the first step of the workflow, which asks for the activities of its members."""
    return tree.history_length >= BEFORE_FIRST_RUN


async def tasks_at_start(client: Client, run: WorkflowExecution) -> int:
    """Return how many tasks of a canvas or bundle can run as soon as it begins."""
    return wire.count((await run.memo()).get(wire.TREE), 1)


async def waiting_members(client: Client, tree: WorkflowExecutionDescription) -> list[str]:
    """Return the members of a canvas or bundle that wait for a worker.

    Members of a bundle count as waiting, too, before the workflow has asked the server to run them.
    """
    pending = {each.activity_id: each for each in tree.raw_description.pending_activities}
    slices = {id for id, each in pending.items() if each.activity_type.name == wire.SLICE}
    in_slices = await members_in_slices(client, tree, slices) if slices else {}
    activities = waiting_activities(tree)
    waiting = [member for member in activities if member not in slices]
    waiting += [member for member, slice_id in in_slices.items() if slice_id in activities and member not in pending]
    asked_for = await tree_of(client, tree.id) if runs_bundle(tree) else None
    if asked_for is not None:
        known = {*pending, *in_slices}
        ids = [message.id for message in asked_for.messages if message.id not in known]
        ended = await ends_so_far(client, tree, ids)
        waiting += [member for member in ids if member not in ended]
    return waiting


def waiting_activities(tree: WorkflowExecutionDescription) -> list[str]:
    """Return the ids of the activities that wait for a worker for the first time."""
    pending = tree.raw_description.pending_activities
    return [each.activity_id for each in pending if each.state == WAITS and not each.HasField("last_failure")]


WAITS = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED


async def end(client: Client, run: WorkflowExecution) -> bool:
    """Terminate a workflow; return False if it has ended meanwhile."""
    try:
        await client.get_workflow_handle(run.id, run_id=run.run_id).terminate(reason="purged")
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


def single_task(unit: Message | Tree | None) -> Message | None:
    """Return the message of one task, with or without links; None for any other canvas."""
    if isinstance(unit, Tree):
        return unit.root.message if isinstance(unit.root, TaskNode) else None
    return unit


def running_in(queues: Sequence[str]) -> str:
    """Return the query for running workflows, or for running standalone activities, of these queues."""
    return f"{one_of('TaskQueue', queues)} AND ExecutionStatus = 'Running'"
