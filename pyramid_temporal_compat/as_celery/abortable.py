"""Tasks that check now and then whether they should stop, as in `celery.contrib.abortable`."""

from __future__ import annotations

from typing import Any

from ..client.status import ABORTED
from ..results.result import AsyncResult
from ..task.task import Task

__all__ = ["ABORTED", "AbortableAsyncResult", "AbortableTask"]


class AbortableAsyncResult(AsyncResult):
    """A result whose task can be asked to stop."""

    def is_aborted(self) -> bool:
        """Return whether the task was asked to stop, or has stopped."""
        return self.state == ABORTED

    def abort(self) -> None:
        """Ask the task to stop. It stops when it checks; a task that never checks runs to its end."""
        from ..client.task_actions import abort  # the client library: 0.4 s

        self.refuse_if_enlisted()
        self.app.temporal.call(lambda client: abort(client, self.id), self._call_timeout)


class AbortableTask(Task):
    """A task that can check with `self.is_aborted()` whether it was asked to stop."""

    abstract = True
    needs_workflow = True
    """`abort()` sends a signal, and only a workflow takes signals."""

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AbortableAsyncResult:
        """Return the result of the call with this id. Its `abort()` asks the task to stop."""
        return AbortableAsyncResult(task_id, task_name=self.name, app=self.app, **kwargs)

    def is_aborted(self, **kwargs: Any) -> bool:
        """Return whether the task was asked to stop. Each call asks the server: once a second is often enough."""
        return self.AsyncResult(kwargs.get("task_id") or str(self.request.id)).is_aborted()
