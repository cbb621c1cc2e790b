"""`app.backend`: the methods of Celery's result backends. The state of a task is read from the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from .. import states
from ..context import current_frame
from ..exceptions import BackendStoreError

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from ..results.result import AsyncResult

STORES_NOTHING = (
    "{name}() can't write the state of task {id!r}: the server takes a task's state from its run only; "
    "a running task reports its own state with self.update_state()"
)


class Backend:
    """Reads the states of tasks from the server. Only a running task can store a state: its own."""

    READY_STATES = states.READY_STATES
    UNREADY_STATES = states.UNREADY_STATES
    EXCEPTION_STATES = states.EXCEPTION_STATES
    supports_native_join = False
    supports_autoexpire = True
    persistent = True

    def __init__(self, app: AppLike) -> None:
        self.app = app

    # --- reading -----------------------------------------------------------------------------------

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """Return a task's state, result, traceback and children.

        A task that has ended and keeps no result is PENDING, like an unknown task.
        """
        result: AsyncResult = self.app.AsyncResult(task_id)
        status = result.current_status()
        if not status.kept:
            return {"task_id": task_id, "status": states.PENDING, "result": None, "traceback": None, "children": None}
        return {
            "task_id": task_id,
            "status": status.state,
            "result": result.value_of(status),
            "traceback": status.error.get("traceback") if status.error else None,
            "children": status.children,
            "date_done": status.ended_at,
        }

    def get_state(self, task_id: str) -> str:
        """Return the state of a task."""
        state: str = self.get_task_meta(task_id)["status"]
        return state

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        """Return the result or the error of a task."""
        return self.get_task_meta(task_id)["result"]

    def get_traceback(self, task_id: str) -> str | None:
        """Return the traceback of a failed task."""
        traceback: str | None = self.get_task_meta(task_id)["traceback"]
        return traceback

    def get_children(self, task_id: str) -> Any:
        """Return the results of the tasks that a task called."""
        return self.get_task_meta(task_id)["children"]

    def forget(self, task_id: str) -> None:
        """Delete the result of a task."""
        self.app.AsyncResult(task_id).forget()

    def ensure_chords_allowed(self) -> None:
        """Do nothing, because chords always work."""

    def as_uri(self, include_password: bool = False) -> str:
        """Return the address and the namespace of the server as a URI."""
        settings = self.app.temporal.settings
        return f"temporal://{settings.address}/{settings.namespace}"

    def cleanup(self) -> None:
        """Do nothing, because the server removes old results after the namespace's retention."""

    # --- writing -----------------------------------------------------------------------------------

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """Store the state of the running task. The state of any other task can't be stored."""
        frame = current_frame()
        if frame is None or frame[1].id != task_id:
            self._refuse("store_result", task_id)
        frame[0].update_state(state=state, meta=result)
        return result

    def mark_as_started(self, task_id: str, **meta: Any) -> Any:
        """Store the state STARTED of the running task."""
        return self.store_result(task_id, meta, states.STARTED)

    def mark_as_done(self, task_id: str, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise `BackendStoreError`: only the end of a run can make a task SUCCESS."""
        self._refuse("mark_as_done", task_id)

    def mark_as_failure(self, task_id: str, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise `BackendStoreError`: only the end of a run can make a task FAILURE."""
        self._refuse("mark_as_failure", task_id)

    def mark_as_revoked(self, task_id: str, *args: Any, **kwargs: Any) -> None:
        """Revoke the task."""
        self.app.control.revoke(task_id)

    def _refuse(self, name: str, task_id: str) -> NoReturn:
        raise BackendStoreError(STORES_NOTHING.format(name=name, id=task_id))
