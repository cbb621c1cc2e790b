"""What the server knows of a task: its state now, and how it ended."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import Collection, Mapping
from typing import Any

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError

from .. import states
from ..exceptions import TaskRevokedError
from ..message import wire_names as wire
from ..message.failures import error_of, how_it_failed
from ..message.ids import workflow_of
from ..payload.converter import from_raw
from .connection import is_transient
from .members import (
    ABORTED,
    describe_bundle,
    ends_so_far,
    is_absent,
    is_tree,
    nearest_tree,
    signal_of_members,
    status_in_tree,
    statuses_in_tree,
    wait_for_members,
    workflow_with,
)
from .status import Status, of_result

ERROR_PAUSE = 0.2
"""Seconds between two tries of a wait while the server is away."""


async def status_of(client: Client, task_id: str) -> Status:
    """The state of a task now; PENDING for one that the server does not know."""
    container = workflow_of(task_id)
    if container and (tree := await nearest_tree(client, task_id)) is not None:
        return await _unless_forgotten(client, task_id, await status_in_tree(client, tree, task_id, _pending))
    handle = _handle(client, task_id)
    try:
        found = await handle.describe()
        if is_tree(found):
            return await status_in_tree(client, found, task_id, _pending)
        if found.workflow_type == wire.FORGOTTEN:
            return Status(known=False)
        if found.status is WorkflowExecutionStatus.RUNNING:
            return await _running(found, client)
        return await _ended(handle, found)  # which asks once more: it may have been forgotten meanwhile
    except RPCError as error:
        if not is_absent(error):
            raise
    bundle = await describe_bundle(client, task_id)
    return Status(known=False) if bundle is None else await status_in_tree(client, bundle, task_id, _pending)


async def statuses_in(
    client: Client, found: WorkflowExecutionDescription, members: Collection[str]
) -> Mapping[str, Status]:
    """The states now of several members of one workflow."""
    return await statuses_in_tree(client, found, members, _pending)


async def wait_for_end(client: Client, task_id: str, interval: float) -> Status:
    """Wait until the task has ended. One that the server does not know yet is asked for every `interval` seconds.

    One question to the server: how it ended. What else there is to know of it, `status_of` asks.
    """
    while True:
        try:
            status = await _end_of(client, task_id)
            if status.known:
                return status
            await asyncio.sleep(interval)
        except RPCError as error:
            if not is_transient(error):
                raise
            await asyncio.sleep(ERROR_PAUSE)


async def _end_of(client: Client, task_id: str) -> Status:
    """How the task has ended, when it has; at once for one that the server does not know."""
    container = workflow_of(task_id)
    try:
        tree = await nearest_tree(client, task_id) if container else None
        if tree is not None and tree.id != container:  # which will start it, or has ended
            ended = (await ends_so_far(client, tree, [task_id])).get(task_id, Status(known=False))
            return await _unless_forgotten(client, task_id, ended)
        if tree is None:
            handle = _handle(client, task_id)
            status = await _outcome_or_revoked(client, handle)
            if status.state == states.REVOKED and (await handle.describe()).workflow_type == wire.FORGOTTEN:
                return Status(known=False)
            return status
    except RPCError as error:
        if not is_absent(error):
            raise
        bundle = await describe_bundle(client, task_id)
        if bundle is None:
            return Status(known=False)
        return (await wait_for_members(client, bundle.id, [task_id]))[task_id]
    ended = (await wait_for_members(client, container, [task_id]))[task_id]
    return await _unless_forgotten(client, task_id, ended)


async def _unless_forgotten(client: Client, member: str, status: Status) -> Status:
    """What is found of a member, unless its result was forgotten. Until it has ended nobody asks for that."""
    return Status(known=False) if status.over and await is_forgotten(client, member) else status


async def is_forgotten(client: Client, task_id: str) -> bool:
    """Whether the result of a task that shares its workflow was."""
    try:
        return (await _handle(client, task_id).describe()).workflow_type == wire.FORGOTTEN
    except RPCError as error:
        if not is_absent(error):
            raise
        return False


async def _outcome_or_revoked(client: Client, handle: WorkflowHandle[Any, Any]) -> Status:
    """How the workflow ended. A revoked task that no worker serves never gets there: its status now is given."""
    ending = asyncio.ensure_future(_outcome(handle))
    try:
        await asyncio.wait([ending], timeout=LOOK_AFTER)
        if not ending.done():
            found = await handle.describe()
            if found.status is WorkflowExecutionStatus.RUNNING:
                status = await status_of(client, handle.id)
                if status.state == states.REVOKED or status.over:
                    return status
                if is_tree(found):  # its result may be there before what is linked to it has ended
                    return (await wait_for_members(client, handle.id, [handle.id]))[handle.id]
        return await ending
    finally:
        ending.cancel()


LOOK_AFTER = 0.5
"""Seconds after which a wait looks why it takes so long; most tasks have ended by then."""


def _handle(client: Client, task_id: str) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(task_id, result_type=RawValue)


async def _running(found: WorkflowExecutionDescription, client: Client) -> Status:
    status = await _at_work(found, client)
    if found.raw_description.workflow_execution_info.memo.fields.get(wire.ABORTED) is not None:
        status = dataclasses.replace(status, state=ABORTED)
    return status


async def _at_work(found: WorkflowExecutionDescription, client: Client) -> Status:
    name, queue = found.workflow_type, found.task_queue
    info = found.raw_description
    if not info.pending_activities:
        return _without_activity(found)
    return await _pending(client, info.pending_activities[0], name, queue)


async def _pending(client: Client, pending: Any, name: str, queue: str) -> Status:
    """The status of a task whose activity has not ended."""
    details: Mapping[str, Any] = {}
    if pending.HasField("heartbeat_details"):
        values = await client.data_converter.decode(pending.heartbeat_details.payloads)
        details = values[0] if values and isinstance(values[0], Mapping) else {}
    retries = wire.count(details.get(wire.RETRIES))
    worker = pending.last_worker_identity or None
    if pending.state in AT_WORK:
        state = details.get(wire.STATE)
        if not isinstance(state, str) or not state:
            state = states.STARTED
        return Status(state, meta=details.get(wire.META), name=name, queue=queue, retries=retries, worker=worker)
    failure = pending.last_failure.application_failure_info.type if pending.HasField("last_failure") else ""
    error = None
    if failure == wire.RETRY:
        cause = await client.data_converter.decode_failure(pending.last_failure)
        error = cause.details[0] if isinstance(cause, ApplicationError) and cause.details else None
    state = states.RETRY if failure == wire.RETRY else states.PENDING
    return Status(state, error=error, name=name, queue=queue, retries=retries, worker=worker)


def _without_activity(found: WorkflowExecutionDescription) -> Status:
    """The status before the first run of the activity, between two, and after the last."""
    info = found.raw_description
    name, queue = found.workflow_type, found.task_queue
    if found.history_length > BEFORE_FIRST_RUN and info.HasField("pending_workflow_task"):
        # The activity has ended, and the workflow has yet to say how.
        return Status(states.STARTED, name=name, queue=queue)
    if info.workflow_extended_info.cancel_requested:
        return Status(states.REVOKED, error=error_of(TaskRevokedError("revoked")), name=name, queue=queue)
    state = states.RETRY if found.history_length > BEFORE_FIRST_RUN else states.PENDING
    return Status(state, name=name, queue=queue)


AT_WORK = (
    PendingActivityState.PENDING_ACTIVITY_STATE_STARTED,
    PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED,  # revoked while it runs: it runs on
)

BEFORE_FIRST_RUN = 4
"""Events in a history whose workflow has not yet asked for its activity."""


async def _ended(handle: WorkflowHandle[Any, Any], found: WorkflowExecutionDescription) -> Status:
    outcome = await _outcome(handle)
    return dataclasses.replace(outcome, name=found.workflow_type, queue=found.task_queue, ended=found.close_time)


async def _outcome(handle: WorkflowHandle[Any, Any]) -> Status:
    """How it ended; waits until it has."""
    try:
        payload = from_raw(await handle.result())
    except WorkflowFailureError as failure:
        state, error = how_it_failed(failure.cause)
        retries = wire.count(error.get(wire.RETRIES))
        return Status(state, error=error, over=True, children=error.get("children"), retries=retries)
    return of_result(payload)


async def revoke(client: Client, task_id: str, terminate: bool) -> None:
    """Keep a task from starting, or stop it. One that the server does not know yet is refused when it comes."""
    for _ in range(2):
        if await _revoke_at_once(client, task_id, terminate):
            return
        if (container := await workflow_with(client, task_id)) is not None:
            return await signal_of_members(client, container, wire.REVOKE, [task_id])
        # Take the id, so that a message that comes with it later counts as started already.
        if await take_id(client, task_id, wire.REVOKED_BEFOREHAND, "revoked"):
            if (container := await workflow_with(client, task_id)) is not None:  # which has started meanwhile
                await signal_of_members(client, container, wire.REVOKE, [task_id])
            return


async def _revoke_at_once(client: Client, task_id: str, terminate: bool) -> bool:
    """False if the task has no workflow of its own."""
    handle = client.get_workflow_handle(task_id)
    try:
        found = await handle.describe()
    except RPCError as error:
        if not is_absent(error):
            raise
        return False
    try:
        if terminate or _not_begun(found):
            # No worker is needed for this; one that runs the task learns of it with its next heartbeat.
            await handle.terminate(reason="revoked")
        else:
            # The workflow decides: an activity that has started runs to its end, one that has not never does.
            await handle.cancel()
    except RPCError as error:
        if not is_absent(error):
            raise
    return True


async def take_id(client: Client, task_id: str, kind: str, reason: str) -> bool:
    """Leave a workflow under the id that has ended before it began; false if one has that id."""
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


NEVER = datetime.timedelta(days=1)
"""Longer than it takes to end what is started only to be ended."""


def _not_begun(found: WorkflowExecutionDescription) -> bool:
    """Whether the task is still in its start delay, with time enough that no worker can be picking it up."""
    if found.execution_time is None or found.history_length > 1:
        return False
    return found.execution_time - datetime.datetime.now(datetime.timezone.utc) > START_IS_FAR


async def abort(client: Client, task_id: str) -> None:
    """Ask an abortable task to stop. Of one that has ended, or is unknown, nothing is left to ask."""
    if (container := await workflow_with(client, task_id)) is not None:
        return await signal_of_members(client, container, wire.ABORT, [task_id])
    try:
        await client.get_workflow_handle(task_id).signal(wire.ABORT)
    except RPCError as error:
        if not is_absent(error):
            raise


START_IS_FAR = datetime.timedelta(seconds=5)
