"""The members of a canvas or bundle: find the workflow that runs them, read their states, wait for their ends.

A member's id names this workflow: it is the part before the last slash. The result of the whole tree has the
workflow's own id. The id of a bundle's member names the bundle in another way (`bundle_of`).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from .. import states
from ..message import wire_names as wire
from ..message.ids import bundle_of, root_of, workflow_of
from ..message.tree import Tree
from .connection import is_transient
from .history import ActivityScheduled, read_history, recorded_events, tree_of
from .history_follower import follow, followed
from .member_ends import MemberEnds
from .read_status import RUNNING, member_in_slice, pending_status, revoked_status
from .status import ABORTED, Status

Workflows = Mapping[str, Collection[str]]
"""The ids of workflows, and for each workflow the ids of its members."""

SHORT_HISTORY = 200
"""Events. To read a shorter history again costs less than to follow it."""
READERS = 8
"""Histories that are read at a time."""
PARTS = 4
"""Parts of one canvas that are waited for at a time: as many as run at a time. With 8, a third of all calls to the
server for a group of 10,000 looked for parts that were not started."""
LOOK_EVERY = 0.2
"""Seconds between two looks for a workflow that its parent has yet to start."""


def runs_bundle(found: WorkflowExecutionDescription) -> bool:
    """Tell whether the workflow runs a bundle."""
    return wire.BUNDLE in found.raw_description.workflow_execution_info.memo.fields


def runs_tree(found: WorkflowExecutionDescription) -> bool:
    """Tell whether the workflow runs a tree: a canvas or a bundle."""
    return wire.TREE in found.raw_description.workflow_execution_info.memo.fields


# --- find the workflow -----------------------------------------------------------------------------


async def describe_tree(client: Client, workflow_id: str) -> WorkflowExecutionDescription | None:
    """Return the description of a workflow; None if it does not exist or runs no tree."""
    try:
        found = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return found if runs_tree(found) else None


async def describe_bundle(client: Client, task_id: str) -> WorkflowExecutionDescription | None:
    """Return the description of the bundle that the task is in; None if the task was not bundled."""
    bundle = bundle_of(task_id)
    found = await describe_tree(client, bundle) if bundle and bundle != task_id else None
    return found if found is not None and runs_bundle(found) else None


async def nearest_tree(client: Client, task_id: str) -> WorkflowExecutionDescription | None:
    """Return the workflow that a member's id names. Before it is started, return the ancestor that will start it."""
    container = workflow_of(task_id)
    while container:
        found = await describe_tree(client, container)
        if found is not None:
            return found
        container = workflow_of(container)
    return None


async def workflow_with(client: Client, task_id: str) -> str | None:
    """Return the id of the canvas or bundle that has the task. None for an unknown task, or one with its own
    workflow."""
    found = await nearest_tree(client, task_id) if workflow_of(task_id) else await describe_bundle(client, task_id)
    return None if found is None else found.id


# --- read states -----------------------------------------------------------------------------------


async def status_in_tree(client: Client, found: WorkflowExecutionDescription, member: str) -> Status:
    """Return the status of a member now."""
    return (await statuses_in_tree(client, found, [member]))[member]


async def statuses_in_tree(
    client: Client, found: WorkflowExecutionDescription, members: Collection[str]
) -> Mapping[str, Status]:
    """Return the statuses now of several members of one workflow. Reads its history once."""
    info = found.raw_description
    running = found.status is WorkflowExecutionStatus.RUNNING
    pending = {each.activity_id: (each, each.activity_type.name) for each in info.pending_activities if running}
    unbegun = []  # slices that have not told which member runs
    for activity, name in list(pending.values()):
        if name == wire.SLICE and (member_of := await member_in_slice(client, activity)) is not None:
            pending[member_of[0]] = activity, member_of[1]
        elif name == wire.SLICE and activity.state in RUNNING:
            unbegun.append(activity)
    statuses: dict[str, Status] = {}
    for member in members:
        if member in pending:
            activity, name = pending[member]
            status = await pending_status(client, activity, activity.state, name, found.task_queue)
            was_aborted = f"{wire.ABORTED}:{member}" in info.workflow_execution_info.memo.fields
            statuses[member] = dataclasses.replace(status, state=ABORTED) if was_aborted else status
    rest = [member for member in members if member not in pending]
    if rest:
        try:
            statuses |= await _statuses_by_history(client, found, rest, unbegun)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            statuses |= dict.fromkeys(rest, Status(known=False))  # it was deleted after it was described
    return statuses


async def _statuses_by_history(
    client: Client, found: WorkflowExecutionDescription, members: Sequence[str], unbegun: Sequence[PendingActivityInfo]
) -> Mapping[str, Status]:
    """Return the statuses of members of which no running activity tells.

    :param unbegun: slices that have not told which member runs: it is the first one.
    """
    info = found.raw_description
    otherwise = Status()
    if info.workflow_extended_info.cancel_requested and not info.pending_activities:
        otherwise = dataclasses.replace(revoked_status("revoked"), ended=False)
    statuses = dict.fromkeys(members, otherwise)
    ends = await _ends(client, found)
    for activity in unbegun:
        first = await ends.first_in_slice(activity.activity_id)
        if first is not None and first.id in statuses:
            statuses[first.id] = await pending_status(client, activity, activity.state, first.task, found.task_queue)
    return {**statuses, **await _recorded(client, found, members), **_ended_among(ends, members)}


async def members_in_slices(
    client: Client, found: WorkflowExecutionDescription, slices: Collection[str]
) -> Mapping[str, str]:
    """Return the slice of each member that some slices were made of. The slices are named by their activities' ids."""
    members: dict[str, str] = {}
    async for event in read_history(client, found.id, found.run_id):
        if isinstance(event, ActivityScheduled) and event.activity_id in slices:
            members |= {message.id: event.activity_id for message, _ in await event.calls()}
    return members


async def ends_so_far(
    client: Client, found: WorkflowExecutionDescription, members: Iterable[str]
) -> Mapping[str, Status]:
    """Return the statuses of the members that have ended, of those given."""
    members = list(members)
    ended = _ended_among(await _ends(client, found), members)
    return {**await _recorded(client, found, members), **ended}


async def _ends(client: Client, found: WorkflowExecutionDescription) -> MemberEnds:
    """Return the ends of members that the history of a workflow has."""
    if found.history_length > SHORT_HISTORY:  # a caller that asks for each member would read all of it each time
        ends = await follow(
            client, (found.id, found.run_id), lambda: MemberEnds(found.id), lambda ends: _is_read(ends, found)
        )
    else:
        ends = MemberEnds(found.id)
        async for event in read_history(client, found.id, found.run_id):
            await ends.add(event)
    return ends


async def _recorded(
    client: Client, found: WorkflowExecutionDescription, members: Iterable[str]
) -> Mapping[str, Status]:
    """Return the ends of steps that ran in slices, as heartbeats have told the server. The history has them later."""
    slices = [each for each in found.raw_description.pending_activities if each.activity_type.name == wire.SLICE]
    events = [event for each in slices for event in await recorded_events(client, each, found.task_queue)]
    if not events:
        return {}
    ends = MemberEnds(found.id)
    for event in events:
        await ends.add(event)
    return _ended_among(ends, members)


def _is_read(ends: MemberEnds, found: WorkflowExecutionDescription) -> bool:
    return ends.length >= found.history_length


def _ended_among(ends: MemberEnds, members: Iterable[str]) -> Mapping[str, Status]:
    statuses = {member: ends.status_of(member) for member in members}
    return {member: status for member, status in statuses.items() if status is not None}


async def look_at_results(
    client: Client, workflows: Workflows, bundles: Workflows
) -> tuple[set[str], Mapping[str, Status]]:
    """Look at the members of several workflows at once. Reads each history once, also the history of a bundle.

    Returns the ids that were looked at, and the statuses of the ended members.

    :param bundles: bundles that may exist, as `possible_bundles` finds them by the ids of tasks.
    """
    workflows = {**workflows, **await _existing_bundles(client, bundles)}
    turn = asyncio.Semaphore(READERS)

    async def look(workflow_id: str, members: Collection[str]) -> Mapping[str, Status]:
        async with turn:
            tree = await describe_tree(client, workflow_id)
            return {} if tree is None else await _none_if_absent(ends_so_far(client, tree, members)) or {}

    found = await asyncio.gather(*(look(workflow_id, members) for workflow_id, members in workflows.items()))
    ended = {member: status for statuses in found for member, status in statuses.items()}
    return {member for members in workflows.values() for member in members}, ended


async def _existing_bundles(client: Client, bundles: Workflows) -> Workflows:
    """Return the bundles that exist, each with the tasks that are in it. A delayed task, say, is not bundled."""
    found: dict[str, Collection[str]] = {}
    for bundle, task_ids in bundles.items():
        tree: Tree | None = await tree_of(client, bundle)
        if tree is not None and tree.bundle:
            found[bundle] = {message.id for message in tree.messages}.intersection(task_ids)
    return {bundle: members for bundle, members in found.items() if members}


# --- wait ------------------------------------------------------------------------------------------


async def wait_for_results(
    client: Client, workflows: Workflows, bundles: Workflows, *, all_of: bool
) -> Mapping[str, Status]:
    """Wait until the members of several workflows have ended, and return their statuses.

    Without `all_of`, the first member that fails or is revoked ends the wait. A workflow that does not exist, and
    that no parent will start, is skipped. This function waits for `READERS` workflows at a time, and for `PARTS` of one
    canvas. It takes them in their order, because the parts of a large canvas run in this order too.

    :param bundles: bundles that may exist, as `possible_bundles` finds them by the ids of tasks.
    """
    turn = asyncio.Semaphore(READERS)
    turns_of_canvas: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(PARTS))

    async def wait(workflow_id: str, members: Collection[str]) -> Mapping[str, Status]:
        async with turns_of_canvas[root_of(workflow_id)], turn:
            while True:
                try:
                    return await _wait_once_started(client, workflow_id, members, all_of)
                except RPCError as error:
                    if not is_transient(error):
                        raise
                await asyncio.sleep(LOOK_EVERY)

    workflows = {**workflows, **await _existing_bundles(client, bundles)}
    waiting = {asyncio.ensure_future(wait(workflow_id, members)) for workflow_id, members in workflows.items()}
    found: dict[str, Status] = {}
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                found |= each.result()
            if not all_of and any(status.state in states.PROPAGATE_STATES for status in found.values()):
                break
    finally:
        for each in waiting:
            each.cancel()
    return found


async def wait_for_members(
    client: Client, workflow_id: str, members: Collection[str], *, all_of: bool = True
) -> Mapping[str, Status]:
    """Wait until the members of one workflow have ended, and return their statuses.

    Without `all_of`, the first member that fails or is revoked ends the wait.
    """

    def enough(ends: MemberEnds) -> bool:
        known = [ends.ended[member] for member in members if member in ends.ended]
        if len(known) == len(members):
            return True
        return not all_of and any(status.state in states.PROPAGATE_STATES for status in known)

    ends = await follow(client, (workflow_id, None), lambda: MemberEnds(workflow_id), enough)
    return _ended_among(ends, members)


def known_end(client: Client, task_id: str) -> Status | None:
    """Return how a member of a canvas or bundle has ended, if this client has read it a moment ago. Asks nobody.

    Results are often read one by one. The first reading then tells about the others. Another process that forgets a
    result meanwhile is noticed seconds later.
    """
    ends = followed(client, workflow_of(task_id) or bundle_of(task_id))
    return ends.ended.get(task_id) if isinstance(ends, MemberEnds) else None


async def _wait_once_started(
    client: Client, workflow_id: str, members: Collection[str], all_of: bool
) -> Mapping[str, Status]:
    """Wait for the members, also while the workflow has yet to be started. Return nothing if no parent starts it."""
    while True:
        found = await _none_if_absent(wait_for_members(client, workflow_id, members, all_of=all_of))
        if found is not None:
            return found
        parent = await nearest_tree(client, workflow_id)
        if parent is None:
            return {}
        ended = await ends_so_far(client, parent, members)
        if len(ended) == len(members):
            return ended
        await asyncio.sleep(LOOK_EVERY)


async def _none_if_absent(asked: Awaitable[Mapping[str, Status]]) -> Mapping[str, Status] | None:
    try:
        return await asked
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
