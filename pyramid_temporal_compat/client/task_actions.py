"""Act on tasks by their ids: revoke, abort or forget them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState, PendingWorkflowTaskState
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from ..message import wire_names as wire
from ..message.ids import bundle_of, is_below, workflow_of
from . import standalone
from .connection import is_absent
from .for_each import for_each
from .history_follower import unfollow
from .members import READERS, describe_tree, runs_tree, workflow_with
from .queues import is_served
from .task_status import BEFORE_FIRST_RUN, is_forgotten

START_IS_FAR = datetime.timedelta(seconds=5)
"""A workflow whose start delay has longer to run is not being picked up by a worker now."""
WAITS = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
NOT_TAKEN = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
TAKEN_BY_NOW = datetime.timedelta(seconds=2)
"""A worker that serves the queue takes a workflow's next step within milliseconds."""
NEVER = datetime.timedelta(days=1)
"""Start delay of a workflow that is terminated at once, so that no worker gets it in between."""


# --- revoke and abort ------------------------------------------------------------------------------


async def revoke(client: Client, task_id: str, terminate: bool) -> None:
    """Keep a task from starting, or stop it. A task that the server does not have yet is refused when it comes."""
    for _ in range(2):
        if await _revoke_single(client, task_id, terminate) or await standalone.revoke(client, task_id, terminate):
            return
        if (container := await workflow_with(client, task_id)) is not None:
            return await signal_members(client, container, wire.REVOKE, [task_id])
        # Take the id, in both lanes, so that the server rejects a later message with this id as a duplicate.
        if await standalone.take_id(client, task_id, wire.REVOKED_BEFOREHAND, "revoked") and await take_id(
            client, task_id, wire.REVOKED_BEFOREHAND, "revoked"
        ):
            if (container := await workflow_with(client, task_id)) is not None:  # it has started since the last look
                await signal_members(client, container, wire.REVOKE, [task_id])
            return


async def _revoke_single(client: Client, task_id: str, terminate: bool) -> bool:
    """Revoke a task that has a workflow of its own. Return False if it has none."""
    handle = client.get_workflow_handle(task_id)
    try:
        found = await handle.describe()
    except RPCError as error:
        if not is_absent(error):
            raise
        return False
    try:
        if terminate or _starts_later(found) or await _has_no_worker(client, found):
            # Terminating needs no worker. A worker that runs the task learns of it with its next heartbeat.
            await handle.terminate(reason="revoked")
        else:
            # The workflow decides: an activity that has started runs to its end, a waiting activity never starts.
            await handle.cancel()
    except RPCError as error:
        if not is_absent(error):
            raise
    return True


def _starts_later(found: WorkflowExecutionDescription) -> bool:
    """Tell whether the task is in its start delay, with so much time left that no worker can be picking it up."""
    if found.execution_time is None or found.history_length > 1:
        return False
    return found.execution_time - datetime.datetime.now(datetime.timezone.utc) > START_IS_FAR


async def _has_no_worker(client: Client, found: WorkflowExecutionDescription) -> bool:
    """Return whether the task waits for a worker, and no worker runs that could learn of a cancellation."""
    info = found.raw_description
    if runs_tree(found) and found.history_length >= BEFORE_FIRST_RUN:
        return False  # members of the canvas may run elsewhere
    if any(activity.state != WAITS for activity in info.pending_activities):
        return False
    if info.HasField("pending_workflow_task") and info.pending_workflow_task.state == NOT_TAKEN:
        scheduled = info.pending_workflow_task.scheduled_time.ToDatetime(tzinfo=datetime.timezone.utc)
        if datetime.datetime.now(datetime.timezone.utc) - scheduled > TAKEN_BY_NOW:
            return True
    return not await is_served(client, found.task_queue)


async def abort(client: Client, task_id: str) -> None:
    """Ask an abortable task to stop. Does nothing for a task that has ended or is unknown."""
    if (container := await workflow_with(client, task_id)) is not None:
        return await signal_members(client, container, wire.ABORT, [task_id])
    try:
        await client.get_workflow_handle(task_id).signal(wire.ABORT, [])
    except RPCError as error:
        if not is_absent(error):
            raise


async def signal_members(client: Client, workflow_id: str, signal: str, task_ids: Sequence[str]) -> None:
    """Send the workflow a signal about some of its members. Does nothing if the workflow has ended."""
    try:
        await client.get_workflow_handle(workflow_id).signal(signal, list(task_ids))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


async def take_id(client: Client, task_id: str, kind: str, reason: str) -> bool:
    """Leave a workflow under the id that has ended before it began. Return False if the id is in use."""
    try:
        handle = await client.start_workflow(
            kind,
            id=task_id,
            task_queue=kind,
            start_delay=NEVER,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    except WorkflowAlreadyStartedError:
        return False
    await handle.terminate(reason=reason)
    return True


# --- forget ----------------------------------------------------------------------------------------


async def forget_results(client: Client, tasks: Sequence[str], groups: Sequence[str] = ()) -> None:
    """Forget the results of tasks: delete their workflows. In a workflow shared with other tasks, hide only these.

    :param groups: ids of groups. A group that is a whole canvas, or the last node of one, has the canvas's workflow.
    """
    deleted: set[str] = set()

    async def delete_one(task_id: str) -> None:
        if await is_forgotten(client, task_id) or await delete_in_each_lane(client, task_id):
            deleted.add(task_id)

    async def delete_group(group_id: str) -> None:
        if await describe_tree(client, group_id) is not None:
            await delete_one(group_id)

    await for_each(groups, delete_group, READERS)
    await for_each(tasks, delete_one, READERS)
    shared: dict[str, list[str]] = {}
    for task_id in tasks:
        if task_id not in deleted:
            shared.setdefault(workflow_of(task_id) or bundle_of(task_id), []).append(task_id)
    for workflow_id, members in shared.items():
        if any(is_below(workflow_id, above) for above in deleted):  # a child of a deleted workflow
            await delete_workflow(client, workflow_id)
        elif workflow_id not in deleted and await workflow_with(client, members[0]) is not None:
            await for_each(members, lambda task_id: take_id(client, task_id, wire.FORGOTTEN, "forgotten"), READERS)
    for task_id in tasks:
        unfollow(client, workflow_of(task_id) or bundle_of(task_id))


async def delete_in_each_lane(client: Client, task_id: str) -> bool:
    """Have the server delete what it has of a task. Return False if it has nothing.

    A standalone activity that went on as a workflow has left both.
    """
    return any([await delete_workflow(client, task_id), await standalone.delete(client, task_id)])


async def delete_workflow(client: Client, workflow_id: str) -> bool:
    """Have the server delete a workflow. Return False if there is none."""
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
    )
    try:
        await client.workflow_service.delete_workflow_execution(request)
    except RPCError as error:
        if not is_absent(error):
            raise
        return False
    return True
