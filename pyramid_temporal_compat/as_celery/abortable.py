"""Tasks that can be asked to stop, and look now and then whether they were: `celery.contrib.abortable`."""

from __future__ import annotations

from typing import Any

from ..results.result import AsyncResult
from ..task.task import Task

ABORTED = "ABORTED"


class AbortableAsyncResult(AsyncResult):
    """A result whose task can be asked to stop."""

    def is_aborted(self) -> bool:
        """Whether the task was asked to stop, or has."""
        return self.state == ABORTED

    def abort(self) -> None:
        """Ask the task to stop. It does when it looks; one that never looks runs to its end."""
        from ..client.tasks import abort  # the client library: 0.4 s

        self.refuse_if_enlisted()
        self.app.temporal.call(lambda client: abort(client, self.id), self._patience)


class AbortableTask(Task):
    """A task that looks whether it was asked to stop, by `self.is_aborted()`."""

    abstract = True

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AbortableAsyncResult:
        return AbortableAsyncResult(task_id, task_name=self.name, app=self.app, **kwargs)

    def is_aborted(self, **kwargs: Any) -> bool:
        """Ask the server: about once a second is often enough."""
        return self.AsyncResult(kwargs.get("task_id") or str(self.request.id)).is_aborted()
