"""`AsyncResult`: a task's state, value and error, read back from Temporal by the task's id."""

from __future__ import annotations

import datetime
import functools
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic

from .. import states
from ..context import worker_frame
from ..current import app_or_default
from ..exceptions import IncompleteStream, StillEnlisted, TaskPredicate, TimeoutError
from ..interfaces import R
from ..message.body import read_body
from ..payload.errors import from_plain
from ..security.signed_results import value_for
from .graph import DependencyGraph, GraphFormatter, graph_of
from .join_guard import assert_will_not_block

if TYPE_CHECKING:
    from ..client.status import Status
    from ..client.task_history import TaskHistory
    from ..interfaces import AppLike

STILL_ENLISTED = (
    "task {name}[{id}] is enlisted in the open transaction and starts only when the transaction commits: waiting for "
    "its result here would never end; return the id, and ask for the result in another request"
)


class Callbacks:
    """Functions to call as soon as this process knows that a result is ready."""

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


class ResultBase:
    """Base of the results of single tasks and of sets."""

    parent: Any = None
    """The result of the previous task in a chain, or of a chord's header."""

    on_server = True
    """Whether the server has what the result stands for. False for an eager result."""

    @functools.cached_property
    def _callbacks(self) -> Callbacks:
        """Return the functions of `then`. Most results have none, and `.delay()` makes a result for each call."""
        return Callbacks()

    def as_tuple(self) -> tuple[Any, Any]:
        """Return plain data of which `result_from_tuple` makes this result again."""
        raise TypeError(f"a {type(self).__name__} can't be written down: it has no id; use a GroupResult")

    def __json__(self) -> tuple[Any, Any]:
        return self.as_tuple()


class AsyncResult(ResultBase, Generic[R]):
    """A task that was sent, known by its id.

    Every attribute but the id asks the server, until this process knows that the task has ended.
    """

    TimeoutError = TimeoutError
    app: Any = None
    id: Any = None
    ignored = False
    """Whether the call said `ignore_result`: `get()` then returns None at once."""

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
        """Tell whether the task has ended: it succeeded, failed or was revoked."""
        return self._status().ready

    def successful(self) -> bool:
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Tell whether the server has the task.

        False for a task that was never sent, that was forgotten, or whose retention is over.
        """
        return self._status().known

    @property
    def result(self) -> Any:
        """The return value, or the exception if the task failed, or the `update_state` meta while the task runs."""
        return self.value_of(self._status())

    info = result

    @property
    def traceback(self) -> str | None:
        """The task's own traceback, if it failed."""
        error = self._status().error
        return error.get("traceback") if error else None

    @property
    def children(self) -> list[Any] | None:
        """The results of the tasks that the run sent."""
        children = self._status().children
        return [result_from_tuple(child, self.app) for child in children] if children else None

    @property
    def name(self) -> str | None:
        name = self._name or self._described().name
        if name is None and (history := self._history()) is not None:  # the workflow has not scheduled its activity yet
            return history.message.task
        return name

    @property
    def args(self) -> Any:
        """The arguments that the task was sent with."""
        return self._sent("args")

    @property
    def kwargs(self) -> Any:
        return self._sent("kwargs")

    @property
    def queue(self) -> str | None:
        queue = self._described().queue
        if queue is None and (history := self._history()) is not None:
            return history.message.queue
        return queue

    @property
    def retries(self) -> int:
        """How often the task was retried."""
        return self._status().retries

    @property
    def worker(self) -> str | None:
        """The worker that runs the task, or ran it last."""
        status = self._status()
        if status.worker is None and status.ready:
            history = self._history()
            return history.worker if history else None
        return status.worker

    @property
    def date_done(self) -> datetime.datetime | None:
        return self._described().ended_at

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
        """Wait until the task has ended, at most `timeout` seconds. Return its result or raise its error."""
        if self.ignored:
            return None  # type: ignore[return-value]  # whatever the task returns: nobody keeps it
        if disable_sync_subtasks:
            assert_will_not_block()
        if follow_parents and propagate:
            self.raise_parent_error()
        if self._ended is None:
            self.refuse_if_enlisted()
            status = self._wait(timeout, interval)
            self._end(status)
            if follow_parents and propagate and status.state in states.PROPAGATE_STATES:
                self.raise_parent_error()  # the cause of this failure, such as a member of a chord's header
        result: R = self.maybe_throw(propagate, callback)
        return result

    wait = get

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> Any:
        """Return the result as it is now, or raise the error if the task failed."""
        status = self._status()
        value = self.value_of(status)
        if propagate and status.state in states.PROPAGATE_STATES:
            in_task = worker_frame() is not None
            raise renamed(value) if in_task and isinstance(value, TaskPredicate) else value
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def throw(self, error: BaseException, *args: Any) -> None:
        raise error

    def then(self, callback: Callable[..., Any], on_error: Callable[..., Any] | None = None, weak: bool = False) -> Any:
        """Call `callback(result)` as soon as this process knows that the result is ready.

        That is now, or in a later `get` or `ready`.
        """
        self._callbacks.add(self, callback, on_error, self._ended is not None)
        return self

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """Yield this result and the results of the tasks that its run sent, each with its value."""
        for _, result in self.iterdeps(intermediate=intermediate):
            yield result, result.get(**kwargs)

    def get_leaf(self) -> Any:
        """Return the value of the last result that `collect` yields."""
        value = None
        for _, result in self.iterdeps():
            value = result.get()
        return value

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Yield pairs of parent and result, breadth first. Asks for the children of each result once.

        So the pairs end even if a result names itself, or a result above it, among its children. Raises
        `IncompleteStream` at a result that is not ready, unless `intermediate`.
        """
        waiting: deque[tuple[Any, Any]] = deque([(None, self)])
        known: dict[tuple[bool, Any], Any] = {}
        while waiting:
            parent, found = waiting.popleft()
            key = (isinstance(found, AsyncResult), found.id)
            is_new = key not in known
            node = known.setdefault(key, found)
            yield parent, node
            if is_new and node.ready():
                waiting.extend((node, child) for child in node.children or ())
            elif is_new and not intermediate:
                raise IncompleteStream(f"{node!r} is not ready")

    def build_graph(self, intermediate: bool = False, formatter: GraphFormatter | None = None) -> DependencyGraph:
        """Return this result and its children as a graph. With `intermediate`, also if not all of them have ended."""
        return graph_of(self, intermediate, formatter)

    @functools.cached_property
    def graph(self) -> DependencyGraph:
        """The graph, as it was at the first access."""
        return self.build_graph(intermediate=True)

    def raise_parent_error(self) -> None:
        """Raise the error of a previous result in the chain, if one has failed. The first failure counts."""
        parents = list(self._parents())[::-1]
        asked = self.app.ResultSet(parents).look_at_members() if len(parents) > 1 else ()
        for number, node in enumerate(parents):
            if node.id in asked and not node.ended:
                continue  # `look_at_members` has just asked for the state, with the others of the canvas
            try:
                node.maybe_throw()
            except Exception:
                # An earlier result may have failed after it was asked, and be the cause of this failure.
                for before in parents[:number]:
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
        """Keep the task from starting. With `terminate`, also stop a task that runs."""
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
        """Revoke every task that has these stamps, not only this task."""
        more = {} if timeout is None else {"timeout": timeout}
        self.app.control.revoke_by_stamped_headers(headers, terminate=terminate, signal=signal, reply=wait, **more)

    def forget(self) -> None:
        """Have the server delete this result and its parents.

        A workflow that other tasks share stays. Only these tasks are then unknown.
        """
        forget(self)

    # --- as plain data ---------------------------------------------------------------------------

    def as_tuple(self) -> tuple[Any, Any]:
        """Return plain data of which `result_from_tuple` makes this result again."""
        return (self.id, self.parent and self.parent.as_tuple()), None

    def as_list(self) -> list[str]:
        """Return the ids of this result and of its parents, the nearest parent first."""
        return [self.id, *(node.id for node in self._parents())]

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _call_timeout(self) -> float:
        """Timeout in seconds of one call to the server."""
        timeout: float = self.app.conf["ptemporal.dispatch_timeout"]
        return timeout

    @property
    def ended(self) -> bool:
        """Whether this process knows that the task has ended."""
        return self._ended is not None

    def clear_end(self) -> None:
        """Drop what this process knows of the task's end."""
        self._ended = None

    def remember(self, status: Status) -> None:
        """Remember a status that was read together with the statuses of other tasks."""
        if self._ended is None:
            self._end(status)

    def _status(self) -> Status:
        return self.current_status() if self._ended is None else self._ended

    def current_status(self) -> Status:
        """Ask the server for the status now, and Celery's result backend if the server does not know the task."""
        from ..client.task_status import status_of  # the client library: 0.4 s

        status: Status = self.app.temporal.call(lambda client: status_of(client, self.id), self._call_timeout)
        old = self.app.old_results
        if not status.known and old is not None:
            status = old.status(self.id) or status
        if status.ready:
            self._end(status)
        return status

    def _history(self) -> TaskHistory | None:
        from ..client.task_history import read_task_history  # the client library: 0.4 s

        history: TaskHistory | None = self.app.temporal.call(
            lambda client: read_task_history(client, self.id), self._call_timeout
        )
        return history

    def _sent(self, part: str) -> Any:
        history = self._history()
        return read_body(history.message, self.app.conf["accept_content"])[part] if history else None

    def _described(self) -> Status:
        """Return the status with name, queue and times. The status that `get` waits for lacks them."""
        if self._ended is not None and self._ended.ended_at is not None:
            return self._ended
        return self.current_status()

    def _wait(self, timeout: float | None, interval: float) -> Status:
        from ..client.task_status import wait_for_end  # the client library: 0.4 s

        if timeout is not None and timeout <= 0:  # look once, and do not wait
            found = self.current_status()
            if not found.ready:
                raise TimeoutError(f"task {self._name or ''}[{self.id}] has not ended")
            return found
        try:
            old = self.app.old_results
            elsewhere = None if old is None else old.status
            status: Status = self.app.temporal.call(
                lambda client: wait_for_end(client, self.id, interval, elsewhere), timeout
            )
        except TimeoutError:
            raise TimeoutError(f"task {self._name or ''}[{self.id}] has not ended within {timeout} s") from None
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped waiting for task {self._name or ''}[{self.id}]; the task goes on: AsyncResult({self.id!r}) "
                "asks for its result again, and its revoke(terminate=True) ends the task"
            ) from None
        return status

    def _end(self, status: Status) -> None:
        self._ended = status
        self._callbacks.fire(self)

    def value_of(self, status: Status) -> Any:
        """Return the result, the error or the meta that belongs to the status."""
        if status.error is not None:
            return as_exception(from_plain(status.error))
        if status.result is not None:
            return value_for(self.app, self.id, status.result)
        return status.meta

    def refuse_if_enlisted(self) -> None:
        """Raise `StillEnlisted` if the task waits for a commit in this thread: waiting for its end would never end."""
        if "transaction" not in sys.modules or "pyramid.threadlocal" not in sys.modules:
            return  # no transaction has begun in this process
        from ..enlist.enlistment import is_enlisted  # SQLAlchemy and Pyramid: already imported

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


def forget(result: Any) -> None:
    """Forget a result, its parents and its members in one call, because several of them may share a workflow."""
    from ..client.task_actions import forget_results  # the client library: 0.4 s

    found = [each for each in _all_of(result) if each.on_server]
    tasks = list(dict.fromkeys(str(each.id) for each in found if isinstance(each, AsyncResult)))
    groups = [str(each.id) for each in found if not isinstance(each, AsyncResult) and getattr(each, "id", None)]
    if not tasks:
        return  # all results are eager, and there may be no server
    patience = result.app.conf["ptemporal.dispatch_timeout"] * (1 + len(tasks) // 100)
    result.app.temporal.call(lambda client: forget_results(client, tasks, groups), patience)
    for each in found:
        if isinstance(each, AsyncResult):
            each.clear_end()


def _all_of(result: Any) -> Iterator[Any]:
    if result.parent is not None:
        yield from _all_of(result.parent)
    yield result
    for member in getattr(result, "results", None) or ():
        yield from _all_of(member)


def as_exception(error: BaseException) -> Exception:
    """Return the error as an `Exception`, which can be raised here.

    A task can end with an error such as `SystemExit`, which would end this process.
    """
    return error if isinstance(error, Exception) else renamed(error)


def renamed(error: BaseException) -> Exception:
    """Return an `Exception` with the error's class name, arguments and cause, which has no other effect.

    For example, a `Reject` that `get()` raises within a task would have this task give its own message back.
    """
    made = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    exception: Exception = made(*error.args)
    exception.__cause__ = error.__cause__
    return exception


def result_from_tuple(written: Any, app: AppLike | None = None) -> Any:
    """Return the result of which `as_tuple` made this plain data."""
    if isinstance(written, ResultBase):
        return written
    app = app_or_default(app)
    first, nodes = written
    id, parent = first if isinstance(first, (list, tuple)) else (first, None)
    before = result_from_tuple(parent, app) if parent else None
    if nodes is None:
        return app.AsyncResult(id, parent=before)
    return app.GroupResult(id, [result_from_tuple(node, app) for node in nodes], parent=before)
