"""Runs one task within a workflow: an activity, and another activity for each retry that changes the message."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    RetryState,
    TimeoutError,
    TimeoutType,
)

from ...message import wire_names as wire
from ...message.activity_options import activity_options
from ...message.message import Message
from ...payload import Payload
from ...payload.converter import from_raw
from ...payload.headers import to_arguments


class ActivityReplaced(Exception):
    """The activity ended with a tree that takes the task's place."""

    def __init__(self, message: Message, payloads: list[Payload]) -> None:
        super().__init__(message.id)
        self.message = message
        self.payloads = payloads


async def run_message(
    message: Message,
    ahead: timedelta,
    before: Sequence[Payload] = (),
    activity_id: str | None = None,
    place: str = "",
    pause: float = 0.0,
) -> Payload:
    """Return the task's result. Raises `ApplicationError`, `CancelledError`, or `ActivityReplaced` if there is none.

    :param ahead: by how much the server's clock is ahead of the clock that set `expires`.
    :param before: results that `message.joins` puts in front of the arguments.
    :param place: where in its tree the task stands, for the web UI.
    :param pause: seconds to wait before the first activity.
    """
    while True:
        if pause > 0:
            await asyncio.sleep(pause)
        if message.expires is not None:
            message = message.copy(ahead=ahead.total_seconds())
        try:
            return from_raw(await run_activity(message, ahead, before, activity_id, place))
        except ActivityError as error:
            pause, message, before = next_run(error, message, before)


async def run_activity(
    message: Message, ahead: timedelta, before: Sequence[Payload], activity_id: str | None, place: str
) -> RawValue:
    """Run one activity and return its result. The server retries the activity as long as the worker asks for it."""
    left = None
    if message.more != len(before):
        message = message.copy(more=len(before))
    if message.expires is not None:
        left = message.expires + ahead - workflow.now()
        if left <= timedelta(0):
            raise expired(message)
    result: RawValue = await workflow.execute_activity(
        message.task,
        args=to_arguments([*message.encode(), *before]),
        activity_id=activity_id,
        result_type=RawValue,
        schedule_to_start_timeout=left,
        # A task that runs when it is revoked runs to its end: revoking only keeps tasks from starting.
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"{place}{message.summary}"[: wire.SUMMARY_LIMIT],
        **activity_options(message),
    )
    return result


NextRun = tuple[float, Message, Sequence[Payload]]
"""How long to wait, and then the message to run, and the payloads that follow its body."""


def next_run(error: ActivityError, message: Message, before: Sequence[Payload]) -> NextRun:
    """Return what to run after an activity that has failed. Raises if the task has ended."""
    cause = error.cause
    if error.retry_state == RetryState.CANCEL_REQUESTED:
        raise CancelledError("revoked while it ran, so its retry does not run")
    if isinstance(cause, ApplicationError) and cause.type == wire.RETRY_ANEW:
        if workflow.cancellation_reason() is not None:
            raise CancelledError("revoked while it ran, so its retry does not run")
        pause, envelope, body = cause.details
        again = Message.read(envelope, message.body if body is None else wire.read_payloads(body))
        # Without `joins`, the arguments of the new message have what followed the body.
        return pause, again, () if again.joins is None and again.linked is None else before
    if isinstance(cause, ApplicationError) and cause.type == wire.REPLACED:
        raise ActivityReplaced(message, wire.read_payloads(cause.details[0])) from None
    if isinstance(cause, TimeoutError) and cause.type == TimeoutType.SCHEDULE_TO_START:
        raise expired(message) from None
    if isinstance(cause, TimeoutError):
        raise ApplicationError(
            f"the worker that ran {message.task}[{message.id}] was lost",
            type=wire.WORKER_LOST,
            non_retryable=True,
        ) from error
    raise cause or error


def expired(message: Message) -> ApplicationError:
    when = message.expires.isoformat() if message.expires else ""
    return ApplicationError(f"expired: not started before {when}", type=wire.REVOKED, non_retryable=True)
