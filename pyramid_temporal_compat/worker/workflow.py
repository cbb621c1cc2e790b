"""The generated workflow: one class that is every task's workflow.

Its type is the task's name, its id the task's id, and it runs one activity. It is dynamic, so a worker that
does not know a task can still carry its workflow; and it passes arguments and results through as raw
payloads, so it neither decodes nor runs anything of the application's.

This code is replayed against recorded histories: `tests/histories` holds one of each kind, and a change
that alters the commands needs `workflow.patched`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    RetryState,
    TimeoutError,
    TimeoutType,
)

from ..exceptions import InvalidTaskError
from ..message import Message
from ..payload.converter import from_raw, to_raw
from . import wire

log = logging.getLogger(__name__)

LONGEST_RUN = timedelta(days=3650)
"""The server wants a limit; ours are the pool's (`time_limit`) and the heartbeat's."""
SUMMARY_LIMIT = 200


@workflow.defn(dynamic=True, sandboxed=False)
class TaskWorkflow:
    """Runs one message: a single activity, anew for each retry that changes the message."""

    @workflow.signal(name=wire.ABORT)
    def abort(self) -> None:
        """The task was asked to stop. It asks for this itself, so all that is to do is to write it down."""
        workflow.upsert_memo({wire.ABORTED: True})

    @workflow.run
    async def run(self, payloads: Sequence[RawValue]) -> Any:
        message = read_message(payloads)
        ahead = workflow.info().start_time - message.sent if message.sent else timedelta(0)
        while True:
            try:
                return await run_activity(message, ahead)
            except ActivityError as error:
                pause, message = next_run(error, message)
            if workflow.cancellation_reason() is not None:
                raise CancelledError("revoked while it ran, so its retry does not run")
            await asyncio.sleep(pause)


def read_message(payloads: Sequence[RawValue]) -> Message:
    # A plain exception fails the workflow task, not the workflow: a hand-written workflow that only a newer worker
    # knows waits for that one, as Temporal has it for a type that is not registered.
    if len(payloads) != 2:
        name = workflow.info().workflow_type
        text = f"workflow type {name!r} is neither a task's nor registered in this worker"
        if name not in _reported:
            _reported.add(name)
            log.error("%s; %s waits for a worker that knows it", text, workflow.info().workflow_id)
        raise UnknownWorkflow(text)
    return Message.decode(payloads[0].payload.data, from_raw(payloads[1]))


_reported: set[str] = set()


class UnknownWorkflow(InvalidTaskError):
    """A workflow that only another worker can run."""


class NotTwice(logging.Filter):
    """Keeps from the log what the client library says at each of its tries of a workflow that we have reported."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], UnknownWorkflow))


logging.getLogger("temporalio.worker._workflow_instance").addFilter(NotTwice())


async def run_activity(message: Message, ahead: timedelta) -> Any:
    """
    :param ahead: by how much the server's clock is ahead of the one that `expires` was read from.
    """
    left = None
    if message.expires is not None:
        left = message.expires + ahead - workflow.now()
        if left <= timedelta(0):
            raise expired(message)
    return await workflow.execute_activity(
        message.task,
        args=[to_raw(payload) for payload in message.encode()],
        result_type=RawValue,
        task_queue=message.queue,
        start_to_close_timeout=LONGEST_RUN,
        schedule_to_start_timeout=left,
        heartbeat_timeout=timedelta(seconds=message.heartbeat_timeout),
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1),
            maximum_interval=timedelta(minutes=1),
            maximum_attempts=1 if message.at_most_once else 0,
        ),
        # A task that runs when it is revoked runs to its end: revoking only keeps tasks from starting.
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=message.summary[:SUMMARY_LIMIT],
    )


def next_run(error: ActivityError, message: Message) -> tuple[float, Message]:
    """How long to wait, and what to run then; raises if the task has ended."""
    cause = error.cause
    if error.retry_state == RetryState.CANCEL_REQUESTED:
        raise CancelledError("revoked while it ran, so its retry does not run")
    if isinstance(cause, ApplicationError) and cause.type == wire.RETRY_ANEW:
        pause, envelope, body = cause.details
        return pause, Message.decode(json.dumps(envelope).encode(), wire.read_payload(body) if body else message.body)
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
