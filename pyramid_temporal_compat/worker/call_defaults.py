"""The local activity that completes a call without an envelope: `workflows/plain_call.py` asks it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from ..exceptions import SecurityError
from ..message import wire_names as wire
from ..task.call_options import make_message

if TYPE_CHECKING:
    from .taken_task import WorkerParts


ENVELOPE_REQUIRED = (
    "the call has no envelope, and encryption is required here: anyone could have made it, for example with no "
    "arguments or with those of another call. Call the task through this package, or encrypt an envelope as the "
    "header 'ptemporal'"
)


class CallDefaults:
    """Knows what the tasks of one app say about their runs. Belongs to the worker's event loop."""

    def __init__(self, worker: WorkerParts) -> None:
        self._worker = worker

    @activity.defn(name=wire.PLAIN_CALL)
    async def envelope(self, name: str, task_id: str, queue: str) -> dict[str, Any] | None:
        """Return the envelope that `task.apply_async` writes for a call without options.

        None if the app has no such task, and tasks that the worker does not know wait for another worker.
        """
        app = self._worker.app
        task = app.tasks.get(name)
        if task is None:
            if app.conf.ptemporal_unknown_task != "fail":
                return None
            raise ApplicationError(self._worker.why_unknown(name), type=wire.NOT_REGISTERED, non_retryable=True)
        if app.conf["ptemporal.encryption_required"]:
            raise ApplicationError(ENVELOPE_REQUIRED, type=SecurityError.__name__, non_retryable=True)
        options = {**task.own_options(), "task_id": task_id, "queue": queue}
        try:
            message = make_message(app, name, (), {}, options, task)
        except Exception as error:
            raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from None
        found: dict[str, Any] = wire.plain(
            # The caller is no process of this application.
            message.copy(origin=None).leaving(datetime.datetime.now(datetime.timezone.utc)).envelope()
        )
        return found
