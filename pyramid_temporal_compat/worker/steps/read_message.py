"""Step: read the message that the activity was given, with the changes that the last attempt's retry made to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from temporalio import activity
from temporalio.common import RawValue

from ...exceptions import InvalidTaskError
from ...log_lines.text_safety import one_line
from ...message import wire_names as wire
from ...message.message import Message, NewerMessage
from ...payload import Payload
from ...payload.converter import from_raw
from ...payload.headers import header_of_activity
from ...payload.trace_carrier import trace_carrier
from .. import task_signals
from ..attempt_end import AttemptEnd
from ..earlier_attempts import counts_of
from ..heartbeat import last_heartbeat
from ..job import Job
from ..taken_task import WorkerParts

log = logging.getLogger(__name__)


async def read_job(worker: WorkerParts, payloads: Sequence[RawValue]) -> Job:
    """Return the run to make."""
    try:
        sent, previous_results = read_message(payloads)
        message = changed_since(sent)
    except AttemptEnd as error:
        task_signals.rejected(worker, payloads, error)
        raise
    info, earlier = activity.info(), await counts_of(sent)
    if message.sent is not None and info.workflow_id is None:  # no workflow has compared the two clocks
        message = message.copy(ahead=(info.scheduled_time - message.sent).total_seconds())
    return Job(
        message,
        earlier,
        worker.hostname,
        redelivered=info.attempt - 1 > earlier.retries - message.retries,
        previous_results=previous_results,
        workflow_id=info.workflow_id,
        attempt=info.attempt,
        namespace=info.namespace,
        run_id=info.workflow_run_id or info.activity_run_id or "",
        trace=trace_carrier(),
    )


def read_message(payloads: Sequence[RawValue]) -> tuple[Message, tuple[Payload, ...]]:
    """Return the message that the workflow sent, and the payloads that follow its body."""
    try:
        envelope = header_of_activity()
        body = [from_raw(payload) for payload in payloads]
    except Exception as error:  # another worker may have the key; `payload.converter` has logged it
        raise AttemptEnd(str(error), type=type(error).__name__) from None
    if envelope is not None:
        try:
            return Message.decode(envelope.data, body).apart()
        except NewerMessage as error:
            raise AttemptEnd(str(error), type="NotFoundError") from None
        except InvalidTaskError as error:
            where = one_line(f"{activity.info().activity_type}[{activity.info().activity_id}]")
            log.error("%s is refused: %s", where, one_line(error))
            raise AttemptEnd(str(error), type=type(error).__name__, non_retryable=True) from None
    # As Temporal says it of an activity that no worker here has registered: another worker may have it.
    name = activity.info().activity_type
    raise AttemptEnd(
        f"Activity function {name} for workflow {activity.info().workflow_id} is not registered on this worker",
        type="NotFoundError",
    )


def changed_since(message: Message) -> Message:
    """Return the message as the last attempt's retry has changed it.

    `retries` stays as it was: it counts the retries before this activity.
    """
    try:
        envelope, body = last_heartbeat()[wire.CHANGED]
        changed = Message.read(envelope, wire.read_payloads(body)).copy(retries=message.retries)
    except NewerMessage as error:
        raise AttemptEnd(str(error), type="NotFoundError") from None
    except (KeyError, TypeError, ValueError, InvalidTaskError):
        return message
    return changed if (changed.task, changed.id) == (message.task, message.id) else message
