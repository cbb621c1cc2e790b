"""A call of a task by a Temporal client that knows nothing of this package: arguments, and no envelope.

The workflow's type is the task's name, its id becomes the task's id, and its task queue the task's queue. What the task
itself says about its runs (`acks_late=False`, `expires`, `priority`, …) only a worker knows that has the task. So the
workflow asks its worker, by a local activity. The history keeps the answer, and a replay asks nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

from ...exceptions import InvalidTaskError
from ...log_lines.text_safety import one_line
from ...log_lines.throttled_log import LoggedNames
from ...message import wire_names as wire
from ...message.body import shown
from ...message.message import LONGEST_ID, Message, is_name
from ...payload import Payload

log = logging.getLogger(__name__)

ANSWER_TIMEOUT = timedelta(minutes=1)
"""The answer takes a millisecond. Without an answer, the local activity is tried again."""


class UnknownWorkflow(InvalidTaskError):
    """A workflow that only another worker can run."""


async def plain_call(body: Sequence[Payload]) -> Message:
    """Return the message of a call without an envelope. Raise `UnknownWorkflow` if this worker has no such task."""
    info = workflow.info()
    if not is_name(info.workflow_id):
        raise InvalidTaskError(
            f"the workflow id {info.workflow_id!r:.80} can't be the id of a task: a task's id has 1 to {LONGEST_ID} "
            "bytes of printable text; start the workflow with another id"
        )
    envelope = await _envelope(info)
    if envelope is None:
        # A plain exception fails the workflow task, not the workflow. So a hand-written workflow that only a newer
        # worker knows waits for that worker. Temporal does the same for a type that is not registered.
        text = (
            f"workflow type {info.workflow_type!r} is neither a task's nor registered in this worker "
            "(ptemporal-compat list tasks app.ini)"
        )
        if _unknown_types.is_new(info.workflow_type):
            log.error("%s; %s waits for a worker that knows it", text, one_line(info.workflow_id))
        raise UnknownWorkflow(text)
    argsrepr, kwargsrepr = shown(body)
    return Message.read(envelope, body).copy(argsrepr=argsrepr, kwargsrepr=kwargsrepr)


async def _envelope(info: workflow.Info) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] | None = await workflow.execute_local_activity(
            wire.PLAIN_CALL,
            args=[info.workflow_type, info.workflow_id, info.task_queue],
            start_to_close_timeout=ANSWER_TIMEOUT,
        )
    except ActivityError as error:
        raise error.cause or error from None
    return found


_unknown_types = LoggedNames()
"""The workflow types that the log has named, because no workflow of this worker has them."""
