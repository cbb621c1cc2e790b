"""`app.backend`: what is known of tasks, by the names that Celery's result backends have. It is kept by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from .. import states
from ..context import current_frame
from ..exceptions import BackendStoreError

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from ..results.result import AsyncResult

STORES_NOTHING = (
    "{name} of task {id!r}: the server knows the state of each task from running it, and takes none from elsewhere; "
    "a running task tells its own with self.update_state()"
)


class Backend:
    """Reads what the server knows. `store_result` and its like are for a running task's own state."""

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
        """A task's state, result, traceback and children; as if it were unknown, if it ended and kept no result."""
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
            "date_done": status.ended,
        }

    def get_state(self, task_id: str) -> str:
        state: str = self.get_task_meta(task_id)["status"]
        return state

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        return self.get_task_meta(task_id)["result"]

    def get_traceback(self, task_id: str) -> str | None:
        traceback: str | None = self.get_task_meta(task_id)["traceback"]
        return traceback

    def get_children(self, task_id: str) -> Any:
        return self.get_task_meta(task_id)["children"]

    def forget(self, task_id: str) -> None:
        self.app.AsyncResult(task_id).forget()

    def ensure_chords_allowed(self) -> None:
        """They are."""

    def as_uri(self, include_password: bool = False) -> str:
        settings = self.app.temporal.settings
        return f"temporal://{settings.address}/{settings.namespace}"

    def cleanup(self) -> None:
        """The server removes what is past the namespace's retention."""

    # --- writing -----------------------------------------------------------------------------------

    def store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        """What a running task says of itself; another task's state can't be written."""
        frame = current_frame()
        if frame is None or frame[1].id != task_id:
            self._refuse("store_result", task_id)
        frame[0].update_state(state=state, meta=result)
        return result

    def mark_as_started(self, task_id: str, **meta: Any) -> Any:
        return self.store_result(task_id, meta, states.STARTED)

    def mark_as_done(self, task_id: str, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse("mark_as_done", task_id)

    def mark_as_failure(self, task_id: str, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse("mark_as_failure", task_id)

    def mark_as_revoked(self, task_id: str, *args: Any, **kwargs: Any) -> None:
        self.app.control.revoke(task_id)

    def _refuse(self, name: str, task_id: str) -> NoReturn:
        raise BackendStoreError(STORES_NOTHING.format(name=name, id=task_id))
