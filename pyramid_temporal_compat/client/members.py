"""The members of a canvas: each one's state and result, read from the history of the workflow that runs the tree.

A member's id names that workflow: all that stands before the last slash. The tree's own result has the workflow's id.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from .. import states
from ..exceptions import TaskRevokedError, WorkerLostError
from ..message import wire_names as wire
from ..message.failures import error_of, how_it_failed
from ..message.ids import bundle_of, is_prefix, workflow_of
from ..payload import Payload
from ..payload.converter import from_raw
from .connection import is_transient
from .history_follower import follow
from .status import Status, of_result

NOT_ENDS = (wire.RETRY_ANEW, wire.REPLACED)
"""How an activity fails whose task goes on."""


def is_bundle(found: WorkflowExecutionDescription) -> bool:
    return wire.BUNDLE in found.raw_description.workflow_execution_info.memo.fields


def is_tree(found: WorkflowExecutionDescription) -> bool:
    return wire.TREE in found.raw_description.workflow_execution_info.memo.fields


class History:
    """What a workflow's history says of the members of its tree, event by event."""

    def __init__(self, client: Client, workflow_id: str) -> None:
        self._workflow_id = workflow_id
        self.ended: dict[str, Status] = {}
        self.length = 0
        """Events that it has taken."""
        self._client = client
        self._scheduled: dict[int, tuple[str, str, str]] = {}
        self._rest: Status | None = None
        self._under: dict[str, Status] = {}
        """How all have ended that lie in a workflow under this one, by that one's id and a slash."""

    async def take(self, event: HistoryEvent) -> None:
        self.length = event.event_id
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            about = (scheduled.activity_id, scheduled.activity_type.name, scheduled.task_queue.name)
            self._scheduled[event.event_id] = about
            self.ended.pop(scheduled.activity_id, None)
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            completed = event.activity_task_completed_event_attributes
            raw = await self._client.data_converter.decode(completed.result.payloads, [RawValue])
            self._end(completed.scheduled_event_id, event, of_result(from_raw(raw[0])))
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
            failed = event.activity_task_failed_event_attributes
            cause = await self._client.data_converter.decode_failure(failed.failure)
            if not isinstance(cause, ApplicationError) or cause.type not in NOT_ENDS:
                state, error = how_it_failed(cause)
                retries = wire.count(error.get(wire.RETRIES))
                status = Status(state, error=error, over=True, children=error.get("children"), retries=retries)
                self._end(failed.scheduled_event_id, event, status)
        elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED:
            fields = event.workflow_properties_modified_event_attributes.upserted_memo.fields
            for name, payload in fields.items():
                if name.startswith(wire.ENDED):
                    (noted,) = await self._client.data_converter.decode([payload])
                    member = name.removeprefix(wire.ENDED)
                    if (told := _noted(noted, event)) is not None:
                        self.ended[member] = told
                elif name.startswith(wire.ENDED_ALIKE):
                    (noted,) = await self._client.data_converter.decode([payload])
                    if (told := _noted(noted, event)) is not None:
                        for member in map(str, noted.get("of") or ()):
                            (self._under if is_prefix(member) else self.ended)[member] = told
        else:
            self._rest = await self._of_the_rest(event) or self._rest

    async def _of_the_rest(self, event: HistoryEvent) -> Status | None:
        """How the workflow has ended, if this is its end: so have those of which nothing else is known."""
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
            failure = event.workflow_execution_failed_event_attributes.failure
            state, error = how_it_failed(await self._client.data_converter.decode_failure(failure))
            return Status(state, error=error, over=True, ended=_when(event))
        if event.event_type in REVOKING:
            error = error_of(TaskRevokedError(REVOKING[event.event_type]))
            return Status(states.REVOKED, error=error, over=True, ended=_when(event))
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT:
            return Status(states.FAILURE, error=error_of(WorkerLostError("its workflow timed out")), over=True)
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
            return Status(states.SUCCESS, result=NOTHING, over=True, ended=_when(event))
        return None

    def _end(self, scheduled: int, event: HistoryEvent, status: Status) -> None:
        member, name, queue = self._scheduled[scheduled]
        self.ended[member] = dataclasses.replace(status, name=name, queue=queue, ended=_when(event))

    def status_of(self, member: str) -> Status | None:
        """How the member has ended; None while it has not."""
        ended = self.ended.get(member) or self._ended_under(member)
        if ended is None and self._rest is not None:
            if member == self._workflow_id or self._rest.state == states.REVOKED:
                return self._rest
            if bundle_of(member) == self._workflow_id:
                return Status(known=False)  # its id was handed out, and then it was not called
            return Status(states.REVOKED, error=error_of(TaskRevokedError(NEVER_RAN)), over=True)
        return ended

    def _ended_under(self, member: str) -> Status | None:
        if not self._under:
            return None
        return next((status for under, status in self._under.items() if member.startswith(under)), None)


ABORTED = "ABORTED"
"""The state of a task that was asked to stop, and runs."""
NEVER_RAN = "it was linked to a task that ended otherwise, and did not run"
NOTHING = Payload({"encoding": b"json/plain"}, b"null")
REVOKING = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: "revoked",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: "terminated",
}


def _noted(noted: Any, event: HistoryEvent) -> Status | None:
    """How a memo says that members have ended; nothing, if it is no note of ours."""
    if not isinstance(noted, Mapping) or not isinstance(noted.get("state"), str):
        return None
    error = noted.get("error")
    told = error if isinstance(error, Mapping) else error_of(Exception("it is not told how"))
    return Status(noted["state"], error=told, over=True, ended=_when(event))


def _when(event: HistoryEvent) -> Any:
    return event.event_time.ToDatetime().astimezone()


async def ends_so_far(
    client: Client, found: WorkflowExecutionDescription, members: Iterable[str]
) -> Mapping[str, Status]:
    """Those of the workflow's members that have ended, and how."""
    if found.history_length > SHORT:  # who asks for one member after the other would read all of it each time
        history = await follow(
            client,
            (found.id, found.run_id),
            lambda: History(client, found.id),
            lambda history: history.length >= found.history_length,
        )
    else:
        history = History(client, found.id)
        async for event in client.get_workflow_handle(found.id, run_id=found.run_id).fetch_history_events():
            await history.take(event)
    of_all = {member: history.status_of(member) for member in members}
    return {member: status for member, status in of_all.items() if status is not None}


SHORT = 200
"""Events of a history that costs less to read again than to follow."""


async def wait_for_members(
    client: Client, workflow_id: str, members: Collection[str], *, all_of: bool = True
) -> Mapping[str, Status]:
    """Wait until the members have ended; without `all_of`, until one of them has ended otherwise than well."""

    def enough(history: History) -> bool:
        known = [history.ended[member] for member in members if member in history.ended]
        if len(known) == len(members):
            return True
        return not all_of and any(status.state in states.PROPAGATE_STATES for status in known)

    history = await follow(client, (workflow_id, None), lambda: History(client, workflow_id), enough)
    found = {member: history.status_of(member) for member in members}
    return {member: status for member, status in found.items() if status is not None}


async def describe_bundle(client: Client, task_id: str) -> WorkflowExecutionDescription | None:
    """The workflow that the task was bundled in, if it was."""
    bundle = bundle_of(task_id)
    found = await describe_tree(client, bundle) if bundle and bundle != task_id else None
    return found if found is not None and is_bundle(found) else None


async def describe_tree(client: Client, workflow_id: str) -> WorkflowExecutionDescription | None:
    """The workflow of this id, if there is one and it runs a tree."""
    try:
        found = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return found if is_tree(found) else None


async def nearest_tree(client: Client, task_id: str) -> WorkflowExecutionDescription | None:
    """The workflow that a member's id names; while that one is not there yet, the one that will start it."""
    container = workflow_of(task_id)
    while container:
        found = await describe_tree(client, container)
        if found is not None:
            return found
        container = workflow_of(container)
    return None


async def status_in_tree(
    client: Client, found: WorkflowExecutionDescription, member: str, pending_status: Any
) -> Status:
    """The state of a member now. `pending_status` reads that of an activity that has not ended."""
    return (await statuses_in_tree(client, found, [member], pending_status))[member]


async def statuses_in_tree(
    client: Client, found: WorkflowExecutionDescription, members: Collection[str], pending_status: Any
) -> Mapping[str, Status]:
    """The states of several members of one workflow, whose history is read once."""
    info = found.raw_description
    running = found.status is WorkflowExecutionStatus.RUNNING
    pending = {each.activity_id: each for each in info.pending_activities} if running else {}
    statuses: dict[str, Status] = {}
    for member in members:
        if (activity := pending.get(member)) is not None:
            status: Status = await pending_status(client, activity, activity.activity_type.name, found.task_queue)
            was_aborted = f"{wire.ABORTED}:{member}" in info.workflow_execution_info.memo.fields
            statuses[member] = dataclasses.replace(status, state=ABORTED) if was_aborted else status
    rest = [member for member in members if member not in pending]
    if rest:
        waits = Status()
        if info.workflow_extended_info.cancel_requested and not info.pending_activities:
            waits = Status(states.REVOKED, error=error_of(TaskRevokedError("revoked")))
        ended = await _if_there(ends_so_far(client, found, rest))
        if ended is None:  # it was deleted since it was found
            waits = Status(known=False)
        statuses |= {**dict.fromkeys(rest, waits), **(ended or {})}
    return statuses


async def workflow_with(client: Client, task_id: str) -> str | None:
    """The canvas or bundle that the task is a member of; None for one with a workflow of its own, or unknown."""
    container = workflow_of(task_id)
    found = await nearest_tree(client, task_id) if container else await describe_bundle(client, task_id)
    return None if found is None else found.id


async def signal_of_members(client: Client, workflow_id: str, signal: str, task_ids: Sequence[str]) -> None:
    """Tell the workflow something of some of its members. One that has ended need not know."""
    try:
        await client.get_workflow_handle(workflow_id).signal(signal, list(task_ids))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


async def look_at_all(client: Client, workflows: Mapping[str, Collection[str]]) -> Mapping[str, Status]:
    """The members of several workflows that have ended, each workflow's history read once."""
    turn = asyncio.Semaphore(READERS)

    async def look(workflow_id: str, members: Collection[str]) -> Mapping[str, Status]:
        async with turn:
            tree = await describe_tree(client, workflow_id)
            return {} if tree is None else await _if_there(ends_so_far(client, tree, members)) or {}

    found = await asyncio.gather(*(look(workflow_id, members) for workflow_id, members in workflows.items()))
    return {member: status for statuses in found for member, status in statuses.items()}


async def wait_for_all(
    client: Client, workflows: Mapping[str, Collection[str]], *, all_of: bool
) -> Mapping[str, Status]:
    """`wait_for_members` of several workflows. One that is not there, and will not be started, is passed over.

    They are waited for in their order, so many at a time: that is how the parts of a large canvas run.
    """
    turn = asyncio.Semaphore(READERS)

    async def wait(workflow_id: str, members: Collection[str]) -> Mapping[str, Status]:
        async with turn:
            while True:
                try:
                    return await _once_started(client, workflow_id, members, all_of)
                except RPCError as error:
                    if not is_transient(error):
                        raise
                await asyncio.sleep(LOOK_EVERY)

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


def is_absent(error: RPCError) -> bool:
    """Whether it says that there is no such workflow; that there is no such namespace is something else."""
    about_namespace = "amespace" in error.message and "not found" in error.message
    return error.status is RPCStatusCode.NOT_FOUND and not about_namespace


READERS = 8
"""Histories that are read at a time."""
LOOK_EVERY = 0.2
"""Seconds between two looks for a workflow that is to be started."""


async def _once_started(
    client: Client, workflow_id: str, members: Collection[str], all_of: bool
) -> Mapping[str, Status]:
    while True:
        found = await _if_there(wait_for_members(client, workflow_id, members, all_of=all_of))
        if found is not None:
            return found
        above = await nearest_tree(client, workflow_id)
        if above is None:
            return {}
        ended = await ends_so_far(client, above, members)
        if len(ended) == len(members):
            return ended
        await asyncio.sleep(LOOK_EVERY)


async def _if_there(asked: Awaitable[Mapping[str, Status]]) -> Mapping[str, Status] | None:
    try:
        return await asked
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
