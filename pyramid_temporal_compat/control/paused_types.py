"""Keep all tasks of one type from starting, until they are resumed.

The record that a type is paused is a workflow on the server that never runs: it stays in its start delay. So the record
needs no worker, and survives restarts of workers and of the server. Workers read the records when they start and then
again and again. Control calls tell running workers at once.

A worker that takes a task of a paused type has the server pause the task's activity. Then it gives the task back. The
server keeps a paused activity without offering it to workers and without any timer, so waiting costs nothing. A resumed
type's activities are found by `TemporalPauseInfo`, by which the server lists workflows with paused activities.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from temporalio.api.common.v1 import WorkflowExecution as Execution
from temporalio.api.workflowservice.v1 import (
    PauseActivityExecutionRequest,
    PauseActivityRequest,
    UnpauseActivityExecutionRequest,
    UnpauseActivityRequest,
)
from temporalio.client import ActivityExecution, Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from ..client.connection import is_absent
from ..client.for_each import for_each
from ..client.list_filter import all_of, quoted
from ..client.standalone import has_standalone_activities
from ..message import wire_names as wire
from . import process_state

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

NEVER = datetime.timedelta(days=3650)
"""Start delay of a record."""
TOLD_WITHIN = 3.0
"""Seconds that workers have to answer that they know of a pause. Later they read the record."""
READ_EVERY = 20.0
"""Seconds between two reads of a worker."""
READ_TIMEOUT = 5.0
"""Seconds for one read. It is short, because the first read delays the worker's start."""
LISTED_AFTER = 1.0
"""Seconds after which the server lists a workflow whose activity was paused."""
MOST_PAUSED = 1_000
"""Types that can be paused at a time."""


@dataclass(frozen=True)
class PausedType:
    """A paused type."""

    name: str
    since: datetime.datetime
    reason: str
    waiting: int
    """How many workflows have a task of this type that was taken and given back. Further tasks may wait in queues."""


def record_id(name: str) -> str:
    """Return the id of the record that a type is paused."""
    return f"{wire.PAUSED_TYPE}:{name}"


# --- for people ------------------------------------------------------------------------------------


def pause(app: AppLike, name: str, reason: str = "") -> bool:
    """Keep the tasks of a type from starting, and tell running workers. Return False if the type was paused already.

    A worker that does not answer reads the record within `READ_EVERY` seconds.
    """
    is_new = app.temporal.call(lambda client: pause_type(client, name, reason))
    app.control.broadcast("paused", {"task_name": name}, reply=True, timeout=TOLD_WITHIN)
    return is_new


def resume(app: AppLike, name: str) -> int | None:
    """Let the tasks of a type start again. Return how many workflows had such tasks; None if the type is not paused."""
    was_paused = app.temporal.call(lambda client: resume_type(client, name))
    # If this process ends between two of the steps, each worker does the rest when it next reads the records.
    app.control.broadcast("resumed", {"task_name": name}, reply=True, timeout=TOLD_WITHIN)
    released = app.temporal.call(lambda client: release_all(client, name), None)
    return len(released) if was_paused or released else None


async def pause_type(client: Client, name: str, reason: str = "") -> bool:
    """Write the record that a type is paused. Return False if it is paused already."""
    try:
        await client.start_workflow(
            wire.PAUSED_TYPE,
            id=record_id(name),
            task_queue=wire.PAUSED_TYPE,
            start_delay=NEVER,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            memo={"reason": reason},
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


async def resume_type(client: Client, name: str) -> bool:
    """End the record that a type is paused. Return False if it is not paused."""
    try:
        await client.get_workflow_handle(record_id(name)).terminate(reason="resumed")
    except RPCError as error:
        if not is_absent(error):
            raise
        return False
    return True


async def release(client: Client, name: str) -> set[str]:
    """Have the server offer the paused tasks of a type to workers again. Return the ids of their workflows."""
    try:
        runs = [run async for run in client.list_workflows(waiting_for(name))]
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        return set()  # a server before 1.28 pauses nothing

    async def unpause(run: WorkflowExecution) -> None:
        request = UnpauseActivityRequest(
            namespace=client.namespace,
            execution=Execution(workflow_id=run.id, run_id=run.run_id),
            identity=client.identity,
            type=name,
        )
        try:
            await client.workflow_service.unpause_activity(request, retry=True)
        except RPCError as error:  # the workflow has ended, or its task was resumed by hand
            if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
                raise

    await for_each(runs, unpause)
    return {run.id for run in runs} | await release_standalone(client, name)


async def release_standalone(client: Client, name: str) -> set[str]:
    """Do what `release` does, for tasks that are standalone activities."""
    if not await has_standalone_activities(client):
        return set()
    found = [each async for each in client.list_activities(standalone_waiting_for(name))]

    async def unpause(task: ActivityExecution) -> None:
        request = UnpauseActivityExecutionRequest(
            namespace=client.namespace, activity_id=task.activity_id, identity=client.identity
        )
        try:
            await client.workflow_service.unpause_activity_execution(request, retry=True)
        except RPCError as error:  # as above
            if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
                raise

    await for_each(found, unpause)
    return {each.activity_id for each in found}


async def release_all(client: Client, name: str) -> set[str]:
    """Do what `release` does, and once more for the tasks that the server did not list yet."""
    found = await release(client, name)
    await asyncio.sleep(LISTED_AFTER)
    return found | await release(client, name)


def waiting_for(name: str) -> str:
    """Return the query for workflows that have a paused task of this type."""
    return all_of([f"TemporalPauseInfo = {quoted(f'property:activityType={name}')}", "ExecutionStatus = 'Running'"])


def standalone_waiting_for(name: str) -> str:
    """Return the query for paused standalone activities of this type."""
    return all_of([f"ActivityType = {quoted(name)}", PAUSED_NOW])


PAUSED_NOW = "ExecutionStatus = 'Paused'"


async def paused_types(client: Client) -> list[PausedType]:
    """Return the paused types by name, each with the number of workflows that wait for it."""

    async def described(run: WorkflowExecution) -> PausedType:
        reason = str((await run.memo()).get("reason") or "")
        name = name_in(run)
        count = await count_paused(client, waiting_for(name), standalone_waiting_for(name))
        return PausedType(name, run.start_time, reason, count)

    runs = [run async for run in client.list_workflows(RECORDS, limit=MOST_PAUSED)]
    return sorted(await for_each(runs, described), key=lambda each: each.name)


async def count_paused(client: Client, workflows: str, activities: str) -> int:
    """Return how many workflows, and how many standalone activities, fulfil these conditions about paused tasks."""
    try:
        count = (await client.count_workflows(workflows)).count
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        return 0  # a server before 1.28 pauses nothing
    if not await has_standalone_activities(client):
        return count
    return count + (await client.count_activities(activities)).count


async def is_paused(client: Client, name: str) -> bool:
    """Return whether the type is paused now. The server's list lags behind by moments; this does not."""
    try:
        found = await client.get_workflow_handle(record_id(name)).describe()
    except RPCError as error:
        if not is_absent(error):
            raise
        return False
    return found.status is WorkflowExecutionStatus.RUNNING


RECORDS = f"WorkflowType = '{wire.PAUSED_TYPE}' AND ExecutionStatus = 'Running'"


def name_in(record: WorkflowExecution) -> str:
    """Return the name of the type that a record is about."""
    return record.id.removeprefix(record_id(""))


# --- for workers -----------------------------------------------------------------------------------


async def pause_activity(client: Client, workflow_id: str | None, run_id: str, activity_id: str) -> bool:
    """Have the server keep an activity back. Return False if the server can't do that.

    :param workflow_id: None for a standalone activity.
    """
    told = {"namespace": client.namespace, "identity": client.identity, "reason": "its type is paused"}
    try:
        if workflow_id is None:
            standalone = PauseActivityExecutionRequest(activity_id=activity_id, run_id=run_id, **told)
            await client.workflow_service.pause_activity_execution(standalone)
        else:
            execution = Execution(workflow_id=workflow_id, run_id=run_id)
            await client.workflow_service.pause_activity(
                PauseActivityRequest(execution=execution, id=activity_id, **told)
            )
    except RPCError as error:
        log.log(
            logging.DEBUG if error.status is RPCStatusCode.NOT_FOUND else logging.WARNING,
            "the server can't pause the task %s, whose type is paused: %s",
            workflow_id or activity_id,
            error,
        )
        return False
    return True


class PausedTypesReader:
    """Reads for one worker which types are paused. Belongs to the worker's event loop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._warned = False

    async def read(self) -> None:
        """Make `process_state.paused_types` equal to what the server has. Never raises."""
        try:
            await asyncio.wait_for(self._read(), READ_TIMEOUT)
        except Exception as error:
            if not self._warned:
                log.warning("can't read from the server, for now, which types of tasks are paused: %r", error)
            self._warned = True
        else:
            self._warned = False

    async def forever(self) -> None:
        """Read again and again."""
        while True:
            await asyncio.sleep(READ_EVERY)
            await self.read()

    async def _read(self) -> None:
        runs = [run async for run in self._client.list_workflows(RECORDS, limit=MOST_PAUSED)]
        listed = {name_in(run) for run in runs}
        known, told_resumed = set(process_state.paused_types), set(process_state.resumed_types)
        # The list may lag behind what a control call has told.
        paused = (listed & known) | await self._really_paused((listed ^ known) | told_resumed)
        for name in sorted(paused - known):
            log.info("Tasks of type %s are paused", name)
        process_state.paused_types.update(paused)
        process_state.resumed_types.difference_update(told_resumed)
        # The process that has resumed a type may have ended before it had released every task. Or it could not tell
        # this worker, and the worker has given tasks back since.
        for name in (known | told_resumed) - paused:
            process_state.paused_types.discard(name)
            await release(self._client, name)

    async def _really_paused(self, names: set[str]) -> set[str]:
        """Return the names of those types that are paused now."""
        ordered = sorted(names)
        answers = await for_each(ordered, lambda name: is_paused(self._client, name))
        return {name for name, answer in zip(ordered, answers, strict=True) if answer}
