"""`AsyncResult`: a task's state, result and error, read back from Temporal."""

from __future__ import annotations

import datetime
import json
import sys
from typing import TYPE_CHECKING, Any

from . import states
from .exceptions import StillEnlisted, TimeoutError
from .payload.errors import from_wire
from .payload.serializers import deserialize
from .payload.types import loads

if TYPE_CHECKING:
    from .app import Celery
    from .dispatch.status import Status

STILL_ENLISTED = (
    "task {name}[{id}] is enlisted in the transaction that is open here, and starts only when that commits: "
    "its result can't be waited for before; return the id, and ask in another request"
)


class AsyncResult:
    """A task that was asked for, by its id. Every question but the id goes to the server, until the task has ended."""

    TimeoutError = TimeoutError

    def __init__(self, id: str, app: Celery | None = None, task_name: str | None = None, parent: Any = None) -> None:
        if not isinstance(id, str) or not id:
            raise ValueError(f"AsyncResult takes a task's id, not {id!r}")
        self.id = id
        self.parent = parent
        self._app = app
        self._name = task_name
        self._ended: Status | None = None

    @property
    def app(self) -> Celery:
        from .app import current_app  # app makes results

        return self._app or current_app()

    @property
    def task_id(self) -> str:
        return self.id

    # --- the state -------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        return self._status().state

    status = state

    def ready(self) -> bool:
        """Whether the task has ended: well, badly, or revoked."""
        return self._status().ready

    def successful(self) -> bool:
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        return self.state == states.FAILURE

    @property
    def result(self) -> Any:
        """The return value; the exception, if it failed; what `update_state` said, while it runs."""
        return self._value(self._status())

    info = result

    @property
    def traceback(self) -> str | None:
        """The task's own traceback, if it failed."""
        error = self._status().error
        return error.get("traceback") if error else None

    @property
    def name(self) -> str | None:
        return self._name or self._described().name

    @property
    def queue(self) -> str | None:
        return self._described().queue

    @property
    def retries(self) -> int:
        return self._status().retries

    @property
    def worker(self) -> str | None:
        """The worker that has it, or had it last."""
        return self._status().worker

    @property
    def date_done(self) -> datetime.datetime | None:
        return self._described().ended

    # --- waiting ---------------------------------------------------------------------------------

    def get(self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5, **kwargs: Any) -> Any:
        """Wait for the task's end, `timeout` seconds at most, and return its result or raise its error."""
        if self._ended is None:
            self._refuse_if_enlisted()
            self._ended = self._wait(timeout, interval)
        value = self._value(self._ended)
        if propagate and self._ended.state in states.PROPAGATE_STATES:
            raise value
        return value

    wait = get

    def maybe_throw(self, propagate: bool = True) -> Any:
        """The result if there is one; raises the error if the task failed."""
        status = self._status()
        value = self._value(status)
        if propagate and status.state in states.PROPAGATE_STATES:
            raise value
        return value

    # --- acting ----------------------------------------------------------------------------------

    def revoke(self, terminate: bool = False, **kwargs: Any) -> None:
        """Keep the task from starting; with `terminate`, stop it also if it runs."""
        from .dispatch.status import revoke  # the client library: 0.4 s

        self._refuse_if_enlisted("revoke")
        self.app.connection.call(lambda client: revoke(client, self.id, terminate), self._patience)

    def forget(self) -> None:
        """Have the server delete the task's workflow, and with it the result."""
        from .dispatch.status import delete  # the client library: 0.4 s

        self.app.connection.call(lambda client: delete(client, self.id), self._patience)
        self._ended = None

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _patience(self) -> float:
        """Seconds for one question to the server."""
        timeout: float = self.app.conf.ptemporal_dispatch_timeout
        return timeout

    def _status(self) -> Status:
        return self._asked() if self._ended is None else self._ended

    def _asked(self) -> Status:
        from .dispatch.status import status_of  # the client library: 0.4 s

        status = self.app.connection.call(lambda client: status_of(client, self.id), self._patience)
        if status.ready:
            self._ended = status
        return status

    def _described(self) -> Status:
        """The status with name, queue and times, which whoever only waited for the end has not asked for."""
        if self._ended is not None and self._ended.ended is not None:
            return self._ended
        return self._asked()

    def _wait(self, timeout: float | None, interval: float) -> Status:
        from .dispatch.status import wait_for_end  # the client library: 0.4 s

        try:
            return self.app.connection.call(lambda client: wait_for_end(client, self.id, interval), timeout)
        except TimeoutError:
            raise TimeoutError(f"task {self._name or ''}[{self.id}] has not ended within {timeout} s") from None

    def _value(self, status: Status) -> Any:
        if status.error is not None:
            return from_wire(loads(json.dumps(status.error).encode()))
        if status.result is not None:
            conf = self.app.conf
            return deserialize(status.result, conf.result_accept_content or conf.accept_content)
        return status.meta

    def _refuse_if_enlisted(self, what: str = "get") -> None:
        if "transaction" not in sys.modules or "pyramid.threadlocal" not in sys.modules:
            return  # nothing can have been enlisted
        from .dispatch.transaction import is_enlisted  # SQLAlchemy and Pyramid: they are there by now

        if is_enlisted(self.id, self.app):
            raise StillEnlisted(STILL_ENLISTED.format(name=self._name or "", id=self.id))

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return other.id == self.id
        return other == self.id if isinstance(other, str) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, None, self._name)

    def __copy__(self) -> AsyncResult:
        return type(self)(self.id, self._app, self._name, self.parent)
