"""The result of a task that runs in this process, because of `task_always_eager` or `apply()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import states
from ..exceptions import StillEnlisted, TaskRevokedError
from ..interfaces import R
from .result import STILL_ENLISTED, AsyncResult

if TYPE_CHECKING:
    from ..client.status import Status
    from ..client.task_history import TaskHistory
    from ..interfaces import AppLike, EndingLike


class EagerResult(AsyncResult[R]):
    """The result of a task that ran in this process, or that runs when the transaction commits."""

    on_server = False

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
        app: AppLike | None = None,
    ) -> None:
        super().__init__(id, task_name=name, app=app)
        self._result = ret_value
        self._state = state
        self._traceback = traceback

    @classmethod
    def of(cls, id: str, ending: EndingLike, app: AppLike, name: str | None) -> EagerResult:
        """Return the result of a run that has ended."""
        from ..celery_names.einfo import ExceptionInfo  # Celery's names: an eager run has imported them by now

        traceback = ExceptionInfo(ending.error).traceback if ending.error is not None else None
        return cls(id, ending.value, ending.state, traceback, name, app)

    def become(self, other: EagerResult) -> None:
        """Take over the outcome of the run that this pending result stands for."""
        self._result, self._state, self._traceback = other._result, other._state, other._traceback
        self._callbacks.fire(self)

    @property
    def state(self) -> str:
        return self._state

    status = state

    @property
    def result(self) -> Any:
        return self._result

    info = result

    @property
    def traceback(self) -> str | None:
        return self._traceback

    @property
    def children(self) -> list[Any] | None:
        return None

    @property
    def name(self) -> str | None:
        return self._name

    def _history(self) -> TaskHistory | None:
        """Return None: a task that ran in this process has no history."""
        return None

    def current_status(self) -> Status:
        """Return the status without a call: the server does not have the task."""
        from ..client.status import Status  # needed for eager results alone

        return Status(self._state, name=self._name)

    @property
    def worker(self) -> str | None:
        return None

    @property
    def retries(self) -> int:
        return 0

    def ready(self) -> bool:
        return self._state != states.PENDING

    def exists(self) -> bool:
        return True

    def then(self, callback: Callable[..., Any], on_error: Callable[..., Any] | None = None, weak: bool = False) -> Any:
        self._callbacks.add(self, callback, on_error, self.ready())
        return self

    def get(self, timeout: float | None = None, propagate: bool = True, *args: Any, **kwargs: Any) -> Any:
        if self._state == states.PENDING:
            raise StillEnlisted(STILL_ENLISTED.format(name=self._name or "", id=self.id))
        if self._state in states.PROPAGATE_STATES:
            if propagate:
                raise self._result if isinstance(self._result, Exception) else Exception(self._result)
            return self._result
        return self._result if self._state == states.SUCCESS else None

    wait = get

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> Any:
        if propagate and self._state in states.PROPAGATE_STATES:
            return self.get()
        if callback is not None:
            callback(self.id, self._result)
        return self._result

    maybe_reraise = maybe_throw

    def forget(self) -> None:
        pass

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Make the state REVOKED. There is no run that could be stopped."""
        self._result, self._state, self._traceback = TaskRevokedError("revoked"), states.REVOKED, None

    def __reduce__(self) -> tuple[Any, ...]:
        return EagerResult, (self.id, self._result, self._state, self._traceback, self._name)

    def __copy__(self) -> EagerResult:
        return EagerResult(self.id, self._result, self._state, self._traceback, self._name, self.app)
