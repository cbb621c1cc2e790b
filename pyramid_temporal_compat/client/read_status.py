"""Make a `Status` of what the server stores: a result, a failure, or an activity that has not ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from .. import states
from ..exceptions import Retry, TaskRevokedError
from ..message import wire_names as wire
from ..message.failures import error_of, how_it_failed
from ..message.message import is_name
from ..payload import Payload
from ..payload.bounds import read_json
from .attempt_counts import LastEnd, counts_before, counts_in, failure_of_worker
from .status import Status

DEEPEST = 200
"""Parents above a result, or groups in groups, that a child of a task may have. A child with more is left out."""
PAUSED = (
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED,
    PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED,
)
RUNNING = (
    PendingActivityState.PENDING_ACTIVITY_STATE_STARTED,
    PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED,  # it was revoked while it ran: it continues
)


def result_status(result: Payload) -> Status:
    """Return the status of a task that has ended with this result."""
    state = result.metadata.get(wire.ENDED_AS, b"").decode(errors="replace") or states.SUCCESS
    kept = wire.NOT_KEPT not in result.metadata
    return Status(
        state,
        result=result if kept else None,
        retries=wire.count(result.metadata.get(wire.RETRIED)),
        ended=True,
        kept=kept,
        children=_children(result.metadata.get(wire.CHILDREN)),
    )


def failed_status(cause: BaseException | None) -> Status:
    """Return the status of a task whose activity or workflow failed with this error."""
    state, error = how_it_failed(cause)
    retries = wire.count(error.get(wire.RETRIES))
    return Status(state, error=error, ended=True, children=written_results(error.get("children")), retries=retries)


def revoked_status(reason: str) -> Status:
    """Return the status of a task that has ended revoked."""
    return Status(states.REVOKED, error=error_of(TaskRevokedError(reason)), ended=True)


async def pending_status(client: Client, activity: Any, state: int, name: str, queue: str) -> Status:
    """Return the status of a task whose activity has not ended: it waits, runs, or waits for its retry.

    :param activity: the activity in the description of its workflow, or the description of a standalone activity.
    :param state: the activity's `PendingActivityState`.
    """
    details = await _heartbeat(client, activity)
    known = counts_in(details)
    last = await LastEnd.read(client, activity.last_failure)
    retries = counts_before(activity.attempt, known, last).retries
    worker = activity.last_worker_identity or None
    if state in RUNNING:
        if known.attempts != activity.attempt - 1:
            details = {}  # an earlier attempt has sent the heartbeat
        shown = details.get(wire.STATE)
        if not isinstance(shown, str) or not shown:
            shown = states.STARTED
        return Status(shown, meta=details.get(wire.META), name=name, queue=queue, retries=retries, worker=worker)
    paused = state in PAUSED
    if not last.is_retry:
        return Status(states.PENDING, name=name, queue=queue, retries=retries, worker=worker, paused=paused)
    error = _retry_error(await client.data_converter.decode_failure(failure_of_worker(activity.last_failure)))
    return Status(states.RETRY, error=error, name=name, queue=queue, retries=retries, worker=worker, paused=paused)


async def member_in_slice(client: Client, activity: Any) -> tuple[str, str] | None:
    """Return the id and the task of the member that runs in a slice; None if the slice has not told of one.

    :param activity: the slice's activity in the description of its workflow.
    """
    if activity.state not in RUNNING:
        return None
    member = (await _heartbeat(client, activity)).get(wire.MEMBER)
    return tuple(member) if isinstance(member, list) and len(member) == 2 and all(map(is_name, member)) else None


async def _heartbeat(client: Client, activity: Any) -> Mapping[str, Any]:
    """Return the details of the activity's last heartbeat."""
    if not activity.HasField("heartbeat_details"):
        return {}
    values = await client.data_converter.decode(activity.heartbeat_details.payloads)
    return values[0] if values and isinstance(values[0], Mapping) else {}


def _retry_error(cause: BaseException) -> Mapping[str, Any] | None:
    """Return the error for which a task is retried, as `payload.errors` writes it."""
    if not isinstance(cause, ApplicationError):
        return None
    details = cause.details[0] if cause.details else None
    error = details if isinstance(details, Mapping) else error_of(Retry(cause.message))
    shown = cause.failure.stack_trace if cause.failure is not None else ""
    return {**error, "traceback": error.get("traceback") or shown or None}


def _children(written: bytes | None) -> Any:
    try:
        found = read_json(written) if written else None
    except (ValueError, RecursionError):  # no worker of this package wrote this; the result itself is still readable
        return None
    return written_results(found)


def written_results(found: Any) -> list[Any] | None:
    """Return the children of a task that `AsyncResult.as_tuple` may have written. Drop every other value."""
    return [each for each in found if is_written_result(each)] or None if isinstance(found, list) else None


def is_written_result(value: Any, depth: int = 0) -> bool:
    """Return whether `AsyncResult.as_tuple` or `GroupResult.as_tuple` can have written this. Anyone may have."""
    if depth > DEEPEST or not isinstance(value, (list, tuple)) or len(value) != 2:
        return False
    first, members = value
    if not isinstance(first, (list, tuple)) or len(first) != 2 or not isinstance(first[0], str) or not first[0]:
        return False
    if first[1] is not None and not is_written_result(first[1], depth + 1):
        return False
    if members is None:
        return True
    return isinstance(members, (list, tuple)) and all(is_written_result(member, depth + 1) for member in members)
