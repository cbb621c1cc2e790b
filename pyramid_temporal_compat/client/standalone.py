"""Tasks as standalone activities, which have no workflow: what the server allows, and how they start, end and are read.

`task_status`, `task_actions` and `task_history` ask here for tasks that have no workflow.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import weakref
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.activity.v1 import ActivityExecutionInfo
from temporalio.api.common.v1 import Payload as ProtoPayload
from temporalio.api.enums.v1 import ActivityExecutionStatus
from temporalio.api.workflowservice.v1 import (
    DeleteActivityExecutionRequest,
    DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse,
    DescribeNamespaceRequest,
    StartActivityExecutionRequest,
)
from temporalio.client import ActivityFailureError, ActivityHandle, Client
from temporalio.common import ActivityIDReusePolicy, RawValue
from temporalio.exceptions import ActivityAlreadyStartedError, ApplicationError, TimeoutError, TimeoutType
from temporalio.service import RPCError, RPCStatusCode

from ..message import wire_names as wire
from ..message.activity_options import LONGEST_RUN, activity_options
from ..message.message import LONGEST_ID, Message
from ..payload.converter import from_raw
from ..payload.headers import FIELD, to_arguments
from .connection import is_absent
from .history import Encoded, unit_in
from .read_status import failed_status, pending_status, result_status, revoked_status
from .status import Status

log = logging.getLogger(__name__)

NOT_AVAILABLE = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED})
"""The API key may use the namespace but not this call, or the server does not have the call."""
NO_ACTIVITIES = (
    "Temporal at %s, namespace %r, takes no standalone activities from this client, so tasks with the lane 'activity' "
    "run as workflows (ptemporal.lane)"
)
MOST_REMEMBERED = 10_000
"""Ids of started tasks that a client remembers. A result of any other task costs two more calls to the server."""
MOST_SUMMARY_BYTES = 240
"""Bytes of the text for the web UI, as JSON. The server refuses more than 400, and encryption adds 115."""
SHORTEST_WAIT = datetime.timedelta(milliseconds=1)
"""The limit for a task that has expired, because the server takes a limit of 0 for none."""
NEVER = datetime.timedelta(days=1)
"""Start delay of an activity that is terminated at once, so that no worker gets it in between."""


# --- what the server allows --------------------------------------------------------------------------


@dataclass
class Support:
    """What the server of one client allows, and which tasks the client has started. Belongs to the client's loop."""

    has_activities: bool
    """Whether the server runs standalone activities."""
    takes_tasks: bool
    """Whether this client may start them, and the server delays them on request."""
    lately: dict[str, None] = field(default_factory=dict)
    """Ids of tasks that the client has started as standalone activities, the oldest first."""

    def remember(self, task_id: str) -> None:
        self.lately[task_id] = None
        if len(self.lately) > MOST_REMEMBERED:
            del self.lately[next(iter(self.lately))]


_support: weakref.WeakKeyDictionary[Client, Support] = weakref.WeakKeyDictionary()


async def support_of(client: Client) -> Support:
    """Return what the server allows this client. Asks once for each client."""
    if (known := _support.get(client)) is None:
        known = _support[client] = await _ask_for_support(client)
    return known


async def has_standalone_activities(client: Client) -> bool:
    """Return whether the server runs standalone activities. Older servers do not."""
    return (await support_of(client)).has_activities


async def _ask_for_support(client: Client) -> Support:
    try:
        found = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    except RPCError as error:
        if error.status in NOT_AVAILABLE:
            return Support(False, False)
        raise
    able = found.namespace_info.capabilities
    takes_tasks = able.standalone_activities and able.standalone_activity_start_delay and await _may_start(client)
    return Support(able.standalone_activities, takes_tasks)


async def _may_start(client: Client) -> bool:
    """Return whether the client may start standalone activities: then the server finds an empty request invalid.

    A server that does not allow the call says so before it looks at the request.
    """
    request = StartActivityExecutionRequest(namespace=client.namespace, identity=client.identity)
    try:
        await client.workflow_service.start_activity_execution(request, retry=True)
    except RPCError as error:
        return error.status is RPCStatusCode.INVALID_ARGUMENT
    return False


# --- start -------------------------------------------------------------------------------------------


async def start(client: Client, message: Message, delay: datetime.timedelta | None, now: datetime.datetime) -> None:
    """Start a task as a standalone activity. Do nothing if the server has an activity with the task's id.

    :param delay: how long the server waits before it gives the task to a worker.
    :param now: the time on the clock that the message's `expires` was read from.
    """
    support = await support_of(client)
    left = None
    if message.expires is not None:  # the server counts from the end of the delay
        left = max(SHORTEST_WAIT, message.expires - now - (delay or datetime.timedelta(0)))
    try:
        await client.start_activity(
            message.task,
            args=to_arguments(message.encode()),
            id=message.id,
            id_reuse_policy=ActivityIDReusePolicy.REJECT_DUPLICATE,
            schedule_to_start_timeout=left,
            start_delay=delay,
            summary=_summary(message),
            **activity_options(message),
        )
    except ActivityAlreadyStartedError:
        log.debug("already started: %s[%s]", message.task, message.id)
    except RPCError as error:
        if error.status in NOT_AVAILABLE:
            support.takes_tasks = False  # later calls take the workflow; this one may have arrived before
        raise
    support.remember(message.id)


def _summary(message: Message) -> str:
    text = message.summary[: wire.SUMMARY_LIMIT]
    while len(json.dumps(text)) > MOST_SUMMARY_BYTES:
        text = text[: len(text) * 3 // 4]
    return text


async def take_id(client: Client, task_id: str, kind: str, reason: str) -> bool:
    """Leave a standalone activity under the id that has ended before it began. Return False if the id is in use."""
    if not (await support_of(client)).takes_tasks or not fits(task_id):
        return True
    try:
        handle = await client.start_activity(
            kind,
            id=task_id,
            task_queue=kind,
            start_to_close_timeout=LONGEST_RUN,
            start_delay=NEVER,
            id_reuse_policy=ActivityIDReusePolicy.REJECT_DUPLICATE,
        )
    except ActivityAlreadyStartedError:
        return False
    await handle.terminate(reason=reason)
    return True


# --- read --------------------------------------------------------------------------------------------


def fits(task_id: str) -> bool:
    """Return whether an activity can have this id. The server refuses a longer one, with an error of its own."""
    return len(task_id.encode("utf-8", "surrogatepass")) <= LONGEST_ID


async def describe(client: Client, task_id: str, **parts: Any) -> DescribeActivityExecutionResponse | None:
    """Return the server's description of the task's standalone activity; None if it has none.

    :param parts: what the description has besides: `include_input`, `include_outcome`, …
    """
    if not await has_standalone_activities(client) or not fits(task_id):
        return None
    request = DescribeActivityExecutionRequest(namespace=client.namespace, activity_id=task_id, **parts)
    try:
        found = await client.workflow_service.describe_activity_execution(request, retry=True)
    except RPCError as error:
        if is_absent(error) or error.status in NOT_AVAILABLE:
            return None
        raise
    return None if found.info.activity_type.name in (wire.REVOKED_BEFOREHAND, wire.FORGOTTEN) else found


async def was_started_here(client: Client, task_id: str) -> bool:
    """Return whether this client has started the task as a standalone activity lately."""
    return task_id in (await support_of(client)).lately


async def status_of(client: Client, task_id: str) -> Status | None:
    """Return the status of a task now; None if it has no standalone activity, or goes on as a workflow."""
    found = await describe(
        client, task_id, include_heartbeat_details=True, include_last_failure=True, include_outcome=True
    )
    return None if found is None else await status_in(client, found)


OPEN = (
    ActivityExecutionStatus.ACTIVITY_EXECUTION_STATUS_RUNNING,
    ActivityExecutionStatus.ACTIVITY_EXECUTION_STATUS_PAUSED,
)
"""The statuses of an activity that has not ended."""


async def status_in(client: Client, found: DescribeActivityExecutionResponse) -> Status | None:
    """Return the status that a description shows; None if the task goes on as a workflow."""
    info = found.info
    name, queue, worker = info.activity_type.name, info.task_queue, info.last_worker_identity or None
    if info.status in OPEN:
        return await pending_status(client, info, info.run_state, name, queue)
    status = await _ended_status(client, found)
    if status is None:
        return None
    ended_at = info.close_time.ToDatetime(tzinfo=datetime.timezone.utc)
    return dataclasses.replace(status, name=name, queue=queue, worker=worker, ended_at=ended_at)


async def wait_for_end(client: Client, task_id: str) -> Status | None:
    """Wait until the task has ended, and return how; None if `status_of` would return None.

    Raises `RPCError` as the server's calls do.
    """
    if not await has_standalone_activities(client) or not fits(task_id):
        return None
    try:
        return result_status(from_raw(await _handle(client, task_id).result()))
    except ActivityFailureError as failure:
        return _failed_status(failure.cause)
    except RPCError as error:
        if is_absent(error) or error.status in NOT_AVAILABLE:
            return None
        raise


def _handle(client: Client, task_id: str) -> ActivityHandle[RawValue]:
    return client.get_activity_handle(task_id, result_type=RawValue)


async def _ended_status(client: Client, found: DescribeActivityExecutionResponse) -> Status | None:
    if found.outcome.HasField("result"):
        (raw,) = await client.data_converter.decode(found.outcome.result.payloads, [RawValue])
        return result_status(from_raw(raw))
    return _failed_status(await client.data_converter.decode_failure(found.outcome.failure))


def _failed_status(cause: BaseException | None) -> Status | None:
    """Return the status of a task whose activity failed; None if the task goes on as a workflow."""
    if isinstance(cause, ApplicationError) and cause.type == wire.HANDED_OVER:
        return None
    if isinstance(cause, TimeoutError) and cause.type == TimeoutType.SCHEDULE_TO_START:
        return revoked_status("expired: not started in time")
    # The server makes no further attempt after an error that asks for one only if the activity was cancelled.
    if isinstance(cause, TimeoutError) or (isinstance(cause, ApplicationError) and not cause.non_retryable):
        return revoked_status("revoked while it ran, so its retry does not run")
    return failed_status(cause)


async def read_message(client: Client, found: DescribeActivityExecutionResponse) -> Message | None:
    """Return the message that an activity was started with, described with `include_input`; None if it has none."""
    info = found.info
    if FIELD not in info.header.fields:
        return None
    stored: list[ProtoPayload] = [info.header.fields[FIELD], *found.input.payloads]
    first, *others = await Encoded(stored, client.data_converter).payloads()
    unit = unit_in(first, others)
    return unit if isinstance(unit, Message) else None


# --- end ---------------------------------------------------------------------------------------------


async def revoke(client: Client, task_id: str, terminate: bool) -> bool:
    """Revoke a task that has a standalone activity. Return False if it has none, or has gone on as a workflow.

    The server ends an activity that no worker has taken. An activity that has started runs to its end, unless it is
    terminated.
    """
    found = await describe(client, task_id, include_outcome=True)
    if found is None or await _went_on(client, found):
        return False
    handle = _handle(client, task_id)
    await _unless_ended(handle.terminate(reason="revoked") if terminate else handle.cancel())
    return True


async def _went_on(client: Client, found: DescribeActivityExecutionResponse) -> bool:
    return found.HasField("outcome") and await _ended_status(client, found) is None


async def terminate(client: Client, info: ActivityExecutionInfo, reason: str) -> bool:
    """End an activity; return False if it has ended meanwhile."""
    handle = client.get_activity_handle(info.activity_id, run_id=info.run_id)
    return await _unless_ended(handle.terminate(reason=reason))


async def delete(client: Client, task_id: str) -> bool:
    """Have the server delete the task's standalone activity. Return False if it has none."""
    if not await has_standalone_activities(client) or not fits(task_id):
        return False
    request = DeleteActivityExecutionRequest(namespace=client.namespace, activity_id=task_id)
    return await _unless_ended(client.workflow_service.delete_activity_execution(request))


async def _unless_ended(call: Awaitable[object]) -> bool:
    """Make a call about an activity; return False if the server has no such activity any more."""
    try:
        await call
    except RPCError as error:
        if is_absent(error) or error.status in (*NOT_AVAILABLE, RPCStatusCode.FAILED_PRECONDITION):
            return False
        raise
    return True
