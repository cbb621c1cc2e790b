"""Look up a task on the server: its status now, and how it ended."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import RawValue
from temporalio.service import RPCError

from .. import states
from ..message import wire_names as wire
from ..message.ids import workflow_of
from ..payload.converter import from_raw
from . import standalone
from .connection import is_absent, is_transient
from .members import (
    describe_bundle,
    ends_so_far,
    known_end,
    nearest_tree,
    runs_tree,
    status_in_tree,
    wait_for_members,
)
from .read_status import failed_status, pending_status, result_status, revoked_status
from .status import ABORTED, Status

ERROR_PAUSE = 0.2
"""Seconds between two attempts of a wait while the server is away."""
LOOK_AFTER = 0.5
"""Seconds after which a wait looks why it takes so long. Most tasks have ended by then."""
BEFORE_FIRST_RUN = 4
"""Most events of a history whose workflow has not yet scheduled its activity."""


UNKNOWN = Status(known=False)


async def status_of(client: Client, task_id: str) -> Status:
    """Return the status of a task now. Its state is PENDING if the server does not know the task."""
    return await _in_either_lane(client, task_id, _status_in_workflow, standalone.status_of)


async def _in_either_lane(
    client: Client,
    task_id: str,
    ask_workflow: Callable[[Client, str], Awaitable[Status]],
    ask_activity: Callable[[Client, str], Awaitable[Status | None]],
) -> Status:
    """Return the answer of the lane that has the task, or an unknown status.

    Asks first for the lane in which this client has started the task.
    """
    if workflow_of(task_id):  # a member of a canvas
        return await ask_workflow(client, task_id)
    if await standalone.was_started_here(client, task_id):
        return await ask_activity(client, task_id) or await ask_workflow(client, task_id)
    found = await ask_workflow(client, task_id)
    if found.known:
        return found
    if (status := await ask_activity(client, task_id)) is not None:
        return status
    # Between the two questions, the activity may have gone on as a workflow.
    return await ask_workflow(client, task_id) if await standalone.describe(client, task_id) else found


async def _status_in_workflow(client: Client, task_id: str) -> Status:
    """Return the status of a task that has a workflow, or shares one."""
    container = workflow_of(task_id)
    if container and (tree := await nearest_tree(client, task_id)) is not None:
        return await _unless_forgotten(client, task_id, await status_in_tree(client, tree, task_id))
    handle = _handle(client, task_id)
    try:
        found = await handle.describe()
        if runs_tree(found):
            return await status_in_tree(client, found, task_id)
        if found.workflow_type == wire.FORGOTTEN:
            return UNKNOWN
        if found.status is WorkflowExecutionStatus.RUNNING:
            return await _running_status(found, client)
        return await _ended_status(handle, found)  # a second call, before which the result may be forgotten
    except RPCError as error:
        if not is_absent(error):
            raise
    bundle = await describe_bundle(client, task_id)
    return UNKNOWN if bundle is None else await status_in_tree(client, bundle, task_id)


async def wait_for_end(
    client: Client, task_id: str, interval: float, elsewhere: Callable[[str], Status | None] | None = None
) -> Status:
    """Wait until the task has ended, and return how. Looks every `interval` seconds for a task not yet on the server.

    :param elsewhere: returns the status of a task that the server does not know, in a thread; None if it is unknown.

    A single task needs one call to the server. The status that it returns has no name, queue or time: `status_of`
    reads them.
    """
    while True:
        try:
            status = await _in_either_lane(client, task_id, _end_of_workflow, standalone.wait_for_end)
            if status.known:
                return status
            if elsewhere is not None and (found := await asyncio.to_thread(elsewhere, task_id)) and found.ready:
                return found
            await asyncio.sleep(interval)
        except RPCError as error:
            if not is_transient(error):
                raise
            await asyncio.sleep(ERROR_PAUSE)


async def is_forgotten(client: Client, task_id: str) -> bool:
    """Tell whether `forget` was called for a task that shares its workflow with others."""
    try:
        return (await _handle(client, task_id).describe()).workflow_type == wire.FORGOTTEN
    except RPCError as error:
        if not is_absent(error):
            raise
        return False


async def _end_of_workflow(client: Client, task_id: str) -> Status:
    """Wait until the task has ended, and return how. Return at once if no workflow has the task."""
    if (known := known_end(client, task_id)) is not None:
        return known
    container = workflow_of(task_id)
    try:
        tree = await nearest_tree(client, task_id) if container else None
        if tree is not None and tree.id != container:  # an ancestor: it will start the container, or has ended
            ended = (await ends_so_far(client, tree, [task_id])).get(task_id, UNKNOWN)
            return await _unless_forgotten(client, task_id, ended)
        if tree is None:
            handle = _handle(client, task_id)
            status = await _outcome_or_revoked(client, handle)
            if status.state == states.REVOKED and (await handle.describe()).workflow_type == wire.FORGOTTEN:
                return UNKNOWN
            return status
    except RPCError as error:
        if not is_absent(error):
            raise
        bundle = await describe_bundle(client, task_id)
        if bundle is None:
            return UNKNOWN
        return (await wait_for_members(client, bundle.id, [task_id]))[task_id]
    ended = (await wait_for_members(client, container, [task_id]))[task_id]
    return await _unless_forgotten(client, task_id, ended)


async def _unless_forgotten(client: Client, member: str, status: Status) -> Status:
    """Return the member's status, or an unknown one if its result was forgotten. Only an ended task costs a call."""
    return UNKNOWN if status.ended and await is_forgotten(client, member) else status


async def _outcome_or_revoked(client: Client, handle: WorkflowHandle[Any, Any]) -> Status:
    """Return how the workflow ended. The workflow of a revoked task without a worker never ends: return its status."""
    ending = asyncio.ensure_future(_outcome(handle))
    try:
        await asyncio.wait([ending], timeout=LOOK_AFTER)
        if not ending.done():
            found = await handle.describe()
            if found.status is WorkflowExecutionStatus.RUNNING:
                status = await status_of(client, handle.id)
                if status.state == states.REVOKED or status.ended:
                    return status
                if runs_tree(found):  # the tree's result can be ready before its links have ended
                    return (await wait_for_members(client, handle.id, [handle.id]))[handle.id]
        return await ending
    finally:
        ending.cancel()


def _handle(client: Client, task_id: str) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(task_id, result_type=RawValue)


async def _running_status(found: WorkflowExecutionDescription, client: Client) -> Status:
    """Return the status of a single task whose workflow runs."""
    info = found.raw_description
    if info.pending_activities:
        activity = info.pending_activities[0]
        status = await pending_status(client, activity, activity.state, found.workflow_type, found.task_queue)
    else:
        status = _status_without_activity(found)
    if info.workflow_execution_info.memo.fields.get(wire.ABORTED) is not None:
        status = dataclasses.replace(status, state=ABORTED)
    return status


def _status_without_activity(found: WorkflowExecutionDescription) -> Status:
    """Return the status before the first activity, between two activities, and after the last one."""
    info = found.raw_description
    name, queue = found.workflow_type, found.task_queue
    # The workflow of a periodic task waits for its countdown itself, which is one event more.
    memo = info.workflow_execution_info.memo.fields
    before = BEFORE_FIRST_RUN + (wire.FIRING in memo)
    if found.history_length > before and info.HasField("pending_workflow_task"):
        # The activity has ended, and the workflow has yet to record how.
        return Status(states.STARTED, name=name, queue=queue)
    if info.workflow_extended_info.cancel_requested:
        return dataclasses.replace(revoked_status("revoked"), ended=False, name=name, queue=queue)
    state = states.RETRY if found.history_length > before or wire.HANDED_ON in memo else states.PENDING
    return Status(state, name=name, queue=queue)


async def _ended_status(handle: WorkflowHandle[Any, Any], found: WorkflowExecutionDescription) -> Status:
    outcome = await _outcome(handle)
    return dataclasses.replace(outcome, name=found.workflow_type, queue=found.task_queue, ended_at=found.close_time)


async def _outcome(handle: WorkflowHandle[Any, Any]) -> Status:
    """Wait until a single task's workflow has ended, and return how."""
    try:
        return result_status(from_raw(await handle.result()))
    except WorkflowFailureError as failure:
        return failed_status(failure.cause)
