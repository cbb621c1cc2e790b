"""Results: a task's state, value and error, read back from Temporal."""

from __future__ import annotations

import datetime
import functools
import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic

from .. import states
from ..context import worker_frame
from ..current import app_or_default
from ..exceptions import IncompleteStream, StillEnlisted, TaskRevokedError, TimeoutError
from ..payload.errors import from_wire
from ..payload.serializers import deserialize
from ..payload.types import loads
from ..typed_calls import R
from .graph import DependencyGraph, GraphFormatter, graph_of

if TYPE_CHECKING:
    from ..client.status import Status
    from ..client.task_history import Record
    from ..interfaces import AppLike, EndingLike

STILL_ENLISTED = (
    "task {name}[{id}] is enlisted in the transaction that is open here, and starts only when that commits: "
    "its result can't be waited for before; return the id, and ask in another request"
)
WOULD_BLOCK = (
    "result.get() in a task waits for a task that may wait for this worker: link the tasks instead (a callback, a "
    "chain, a chord), or, if you know that it can't be, `with allow_join_result():`"
)

_joins_allowed: ContextVar[bool | None] = ContextVar("ptemporal_joins_allowed", default=None)


def task_join_will_block() -> bool:
    """Whether waiting for a result is refused here: inside a task, unless it was allowed."""
    allowed = _joins_allowed.get()
    return worker_frame() is not None if allowed is None else not allowed


def assert_will_not_block() -> None:
    if task_join_will_block():
        raise RuntimeError(WOULD_BLOCK)


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Let results be waited for in here, though a task runs here."""
    token = _joins_allowed.set(True)
    try:
        yield
    finally:
        _joins_allowed.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Refuse it in here."""
    token = _joins_allowed.set(False)
    try:
        yield
    finally:
        _joins_allowed.reset(token)


class ResultBase:
    """What the results of single tasks and of sets share."""

    parent: Any = None

    def as_tuple(self) -> tuple[Any, Any]:
        """What `result_from_tuple` makes this result of."""
        raise TypeError(f"{type(self).__name__} has no id to be written down by")

    def __json__(self) -> tuple[Any, Any]:
        return self.as_tuple()


class Callbacks:
    """Functions to call when a result is known to be ready."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[..., Any], Callable[..., Any] | None]] = []

    def add(self, result: Any, callback: Callable[..., Any], on_error: Callable[..., Any] | None, done: bool) -> None:
        self._waiting.append((callback, on_error))
        if done:
            self.fire(result)

    def fire(self, result: Any) -> None:
        waiting, self._waiting = self._waiting, []
        for callback, on_error in waiting:
            try:
                callback(result)
            except Exception as error:
                if on_error is None:
                    raise
                on_error(error)


class AsyncResult(ResultBase, Generic[R]):
    """A task that was asked for, by its id. Every question but the id goes to the server, until the task has ended."""

    TimeoutError = TimeoutError
    app: Any = None
    id: Any = None
    ignored = False
    """Whether the call asked for the result not to be kept: `get()` then waits for nothing."""

    def __init__(
        self,
        id: str,
        backend: Any = None,
        task_name: str | None = None,
        app: AppLike | None = None,
        parent: Any = None,
    ) -> None:
        if not isinstance(id, str) or not id:
            raise ValueError(f"AsyncResult takes a task's id, not {id!r}")
        self.app = app_or_default(app or self.app)
        self.id = id
        self.parent = parent
        self._name = task_name
        self._ended: Status | None = None
        self._callbacks = Callbacks()

    @property
    def task_id(self) -> Any:
        return self.id

    @task_id.setter
    def task_id(self, id: str) -> None:
        self.id = id

    @property
    def backend(self) -> Any:
        return self.app.backend

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

    def exists(self) -> bool:
        """Whether the server knows the task: false for one that was never sent, or is forgotten or past retention."""
        return self._status().known

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
    def children(self) -> list[Any] | None:
        """The tasks that the run asked for."""
        children = self._status().children
        return [result_from_tuple(child, self.app) for child in children] if children else None

    @property
    def name(self) -> str | None:
        name = self._name or self._described().name
        if name is None and (record := self._record()) is not None:  # the server has not been asked for its run yet
            return record.message.task
        return name

    @property
    def args(self) -> Any:
        """The arguments that it was sent with."""
        return self._sent("args")

    @property
    def kwargs(self) -> Any:
        return self._sent("kwargs")

    @property
    def queue(self) -> str | None:
        queue = self._described().queue
        if queue is None and (record := self._record()) is not None:
            return record.message.queue
        return queue

    @property
    def retries(self) -> int:
        """How often it was retried."""
        return self._status().retries

    @property
    def worker(self) -> str | None:
        """The worker that has it, or had it last."""
        status = self._status()
        if status.worker is None and status.ready:
            record = self._record()
            return record.worker if record else None
        return status.worker

    @property
    def date_done(self) -> datetime.datetime | None:
        return self._described().ended

    @property
    def supports_native_join(self) -> bool:
        return False

    # --- waiting ---------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Any = None,
        on_interval: Callable[[Any], Any] | None = None,
        disable_sync_subtasks: bool = True,
        EXCEPTION_STATES: Any = states.EXCEPTION_STATES,
        PROPAGATE_STATES: Any = states.PROPAGATE_STATES,
    ) -> R:
        """Wait for the task's end, `timeout` seconds at most, and return its result or raise its error."""
        if self.ignored:
            return None  # type: ignore[return-value]  # whatever the task returns: nobody keeps it
        if disable_sync_subtasks:
            assert_will_not_block()
        if follow_parents and propagate:
            self.throw_of_parents()
        if self._ended is None:
            self.refuse_if_enlisted()
            status = self._wait(timeout, interval)
            self._end(status)
            if follow_parents and propagate and status.state in states.PROPAGATE_STATES:
                self.throw_of_parents()  # what it failed of, such as a member of a chord's header
        result: R = self.maybe_throw(propagate, callback)
        return result

    wait = get

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> Any:
        """The result as it is now; raises the error if the task failed."""
        status = self._status()
        value = self._value(status)
        if propagate and status.state in states.PROPAGATE_STATES:
            raise value
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def throw(self, error: BaseException, *args: Any) -> None:
        raise error

    def then(self, callback: Callable[..., Any], on_error: Callable[..., Any] | None = None, weak: bool = False) -> Any:
        """Call `callback(result)` once the result is known to be ready: now, or when `get` or `ready` finds it so."""
        self._callbacks.add(self, callback, on_error, self._ended is not None)
        return self

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """This result and those of the tasks that it asked for, each with its value."""
        for _, result in self.iterdeps(intermediate=intermediate):
            yield result, result.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last of them."""
        value = None
        for _, result in self.iterdeps():
            value = result.get()
        return value

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Pairs of parent and result, breadth first. A result that is not ready ends it, unless `intermediate`."""
        waiting = deque([(None, self)])
        while waiting:
            parent, node = waiting.popleft()
            yield parent, node
            if node.ready():
                waiting.extend((node, child) for child in node.children or ())  # type: ignore[misc]
            elif not intermediate:
                raise IncompleteStream(f"{node!r} is not ready")

    def build_graph(self, intermediate: bool = False, formatter: GraphFormatter | None = None) -> DependencyGraph:
        """This result and those that its task asked for, as a graph; `intermediate`: though not all have ended."""
        return graph_of(self, intermediate, formatter)

    @functools.cached_property
    def graph(self) -> DependencyGraph:
        """The graph as it was when this was asked first."""
        return self.build_graph(intermediate=True)

    def throw_of_parents(self) -> None:
        """Raise what one of those before it has failed of."""
        parents = list(self._parents())[::-1]
        asked = self.app.ResultSet(parents).look() if len(parents) > 1 else ()
        for number, node in enumerate(parents):
            if node.id in asked and not node.ended:
                continue  # it was asked a moment ago, with the others of its canvas
            try:
                node.maybe_throw()
            except Exception:
                for before in parents[:number]:  # which may have ended since it was asked, and be what this failed of
                    before.maybe_throw()
                raise

    def _parents(self) -> Iterator[Any]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    # --- acting ----------------------------------------------------------------------------------

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Keep the task from starting; with `terminate`, stop it also if it runs."""
        self.refuse_if_enlisted()
        self.app.control.revoke(
            self.id, terminate=terminate, signal=signal, reply=wait, **({} if timeout is None else {"timeout": timeout})
        )

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any] | Sequence[str],
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Keep every task that carries these stamps from starting, this one or another; as `revoke` otherwise."""
        more = {} if timeout is None else {"timeout": timeout}
        self.app.control.revoke_by_stamped_headers(headers, terminate=terminate, signal=signal, reply=wait, **more)

    def forget(self) -> None:
        """Have the server delete the result, and those before it. In a workflow that others share it is not found."""
        forget(self)

    # --- writing it down -------------------------------------------------------------------------

    def as_tuple(self) -> tuple[Any, Any]:
        """What `result_from_tuple` makes this result of."""
        return (self.id, self.parent and self.parent.as_tuple()), None

    def as_list(self) -> list[str]:
        """The ids of this result and its parents, the last one first."""
        return [self.id, *(node.id for node in self._parents())]

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _patience(self) -> float:
        """Seconds for one question to the server."""
        timeout: float = self.app.conf["ptemporal.dispatch_timeout"]
        return timeout

    def current_status(self) -> Status:
        """All that the server says of the task now."""
        return self._asked()

    @property
    def ended(self) -> bool:
        """Whether it is known here that the task has ended."""
        return self._ended is not None

    def not_ended(self) -> None:
        """Nothing is known here of how the task has ended."""
        self._ended = None

    def take(self, status: Status) -> None:
        """What was found out about the task together with others."""
        if self._ended is None:
            self._end(status)

    def value_of(self, status: Status) -> Any:
        """The result, the error, or what `update_state` said."""
        return self._value(status)

    def _status(self) -> Status:
        return self._asked() if self._ended is None else self._ended

    def _asked(self) -> Status:
        from ..client.tasks import status_of  # the client library: 0.4 s

        status: Status = self.app.temporal.call(lambda client: status_of(client, self.id), self._patience)
        if status.ready:
            self._end(status)
        return status

    def _record(self) -> Record | None:
        from ..client.task_history import record_of  # the client library: 0.4 s

        record: Record | None = self.app.temporal.call(lambda client: record_of(client, self.id), self._patience)
        return record

    def _sent(self, part: str) -> Any:
        record = self._record()
        return deserialize(record.message.body, self.app.conf["accept_content"])[part] if record else None

    def _described(self) -> Status:
        """The status with name, queue and times, which whoever only waited for the end has not asked for."""
        if self._ended is not None and self._ended.ended is not None:
            return self._ended
        return self._asked()

    def _wait(self, timeout: float | None, interval: float) -> Status:
        from ..client.tasks import wait_for_end  # the client library: 0.4 s

        if timeout is not None and timeout <= 0:  # no time to wait, but to look
            found = self._asked()
            if not found.ready:
                raise TimeoutError(f"task {self._name or ''}[{self.id}] has not ended")
            return found
        try:
            status: Status = self.app.temporal.call(lambda client: wait_for_end(client, self.id, interval), timeout)
        except TimeoutError:
            raise TimeoutError(f"task {self._name or ''}[{self.id}] has not ended within {timeout} s") from None
        return status

    def _end(self, status: Status) -> None:
        self._ended = status
        self._callbacks.fire(self)

    def _value(self, status: Status) -> Any:
        if status.error is not None:
            return as_exception(from_wire(loads(json.dumps(status.error).encode())))
        if status.result is not None:
            conf = self.app.conf
            return deserialize(
                status.result, conf["result_accept_content"] or conf["accept_content"], "result_accept_content"
            )
        return status.meta

    def refuse_if_enlisted(self) -> None:
        """Raise `StillEnlisted` if the task waits for a commit in this thread: nobody could wait for its end."""
        if "transaction" not in sys.modules or "pyramid.threadlocal" not in sys.modules:
            return  # nothing can have been enlisted
        from ..enlist.enlistment import is_enlisted  # SQLAlchemy and Pyramid: they are there by now

        if is_enlisted(self.id, self.app):
            raise StillEnlisted(STILL_ENLISTED.format(name=self._name or "", id=self.id))

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        return other == self.id if isinstance(other, str) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return AsyncResult, (self.id, None, self._name, None, self.parent)

    def __copy__(self) -> AsyncResult:
        return type(self)(self.id, None, self._name, self.app, self.parent)


class EagerResult(AsyncResult[R]):
    """The result of a task that ran here, or is about to when the transaction commits."""

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
        """The result of a run that ended so."""
        from ..celery_names.einfo import ExceptionInfo  # only eager runs, which have loaded it

        traceback = ExceptionInfo(ending.error).traceback if ending.error is not None else None
        return cls(id, ending.value, ending.state, traceback, name, app)

    def become(self, other: EagerResult) -> None:
        """Take over what the run came to."""
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

    def _record(self) -> Record | None:
        """It has no history: it ran here."""
        return None

    def _asked(self) -> Status:
        """No server knows of it."""
        from ..client.status import Status  # for results of eager runs alone

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
        """Nothing is left to stop; the result says REVOKED from now on."""
        self._result, self._state, self._traceback = TaskRevokedError("revoked"), states.REVOKED, None

    def __reduce__(self) -> tuple[Any, ...]:
        return EagerResult, (self.id, self._result, self._state, self._traceback, self._name)

    def __copy__(self) -> EagerResult:
        return EagerResult(self.id, self._result, self._state, self._traceback, self._name, self.app)


def forget(result: Any) -> None:
    """Forget a result, those before it and those in it, as one: several of them may have one workflow."""
    from ..client.forgetting import forget_all  # the client library: 0.4 s

    found = [each for each in _all_of(result) if not isinstance(each, EagerResult)]
    tasks = list(dict.fromkeys(str(each.id) for each in found if isinstance(each, AsyncResult)))
    groups = [str(each.id) for each in found if not isinstance(each, AsyncResult) and getattr(each, "id", None)]
    if not tasks:
        return  # eager ones, say, and no server in sight
    patience = result.app.conf["ptemporal.dispatch_timeout"] * (1 + len(tasks) // 100)
    result.app.temporal.call(lambda client: forget_all(client, tasks, groups), patience)
    for each in found:
        if isinstance(each, AsyncResult):
            each.not_ended()


def _all_of(result: Any) -> Iterator[Any]:
    if result.parent is not None:
        yield from _all_of(result.parent)
    yield result
    for member in getattr(result, "results", None) or ():
        yield from _all_of(member)


def as_exception(error: BaseException) -> Exception:
    """An error to raise here. One that would end this process, had the task raised it here, is told of instead."""
    if isinstance(error, Exception):
        return error
    named = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    told: Exception = named(*error.args)
    told.__cause__ = error.__cause__
    return told


def result_from_tuple(written: Any, app: AppLike | None = None) -> Any:
    """The result that `as_tuple` wrote down."""
    if isinstance(written, ResultBase):
        return written
    app = app_or_default(app)
    first, nodes = written
    id, parent = first if isinstance(first, (list, tuple)) else (first, None)
    before = result_from_tuple(parent, app) if parent else None
    if nodes is None:
        return app.AsyncResult(id, parent=before)
    return app.GroupResult(id, [result_from_tuple(node, app) for node in nodes], parent=before)
