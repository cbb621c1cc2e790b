"""Runs tasks in the caller's process: `task.apply()`, and calls under `task_always_eager`."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import states
from ..canvas.chord import chord
from ..canvas.errbacks import call_errbacks
from ..canvas.group import group, is_empty
from ..celery_names.lists import as_list
from ..context import Context, current_frame
from ..enlist.enlistment import ENLIST_REQUIRED, current_transaction, enlist, is_active, transactions_set_aside
from ..exceptions import Retry
from ..message.body import read_body
from ..message.celery_view import options_of
from ..message.ids import new_id
from ..message.message import CARRIED_OPTIONS, Message
from ..payload.annotations import rebuild_arguments
from ..results.eager_result import EagerResult
from ..results.join_guard import allow_join_result, denied_join_result
from ..results.result_sets import GroupResult
from ..transactions.pyramid_request import Attempt, attempt
from ..transactions.transaction_blocks import TransactionBlocks
from .execution import Ending, Execution
from .task import Task

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from ..payload.codecs import Codec

log = logging.getLogger(__name__)


def apply_now(
    task: Task,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    task_id: str | None,
    retries: int,
    throw: bool | None,
    headers: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> EagerResult:
    """Run a task here and now, and return its result.

    Inside a Pyramid request with a begun transaction, the run joins that transaction. Otherwise it gets a request and a
    transaction of its own.
    """
    app = task.app
    task_id = task_id or new_id()
    frame = current_frame()
    parent = frame[1] if frame else None
    carried = {part: options.get(option) for option, part in CARRIED_OPTIONS.items() if option not in IGNORED_TIMES}
    request = Context(
        {part: value for part, value in carried.items() if value is not None},
        called_directly=False,
        args=args,
        kwargs=kwargs,
        callbacks=as_list(options.get("link")) or None,
        errbacks=as_list(options.get("link_error")) or None,
        delivery_info={
            "is_eager": True,
            "exchange": options.get("exchange"),
            "routing_key": options.get("routing_key"),
            "priority": options.get("priority"),
        },
        hostname=socket.gethostname(),
        id=task_id,
        ignore_result=bool(options.get("ignore_result", task.ignore_result)),
        is_eager=True,
        own_headers=dict(headers) if headers else None,
        parent_id=parent.id if parent else options.get("parent_id"),
        retries=retries,
        stamped_headers=(names := as_list(options.get("stamped_headers"))) or None,
        stamps={name: as_list(options.get(name)) for name in names} or None,
        root_id=(parent.root_id if parent else options.get("root_id")) or task_id,
        task=task.name,
        timelimit=(task.time_limit, task.soft_time_limit) if task.time_limit or task.soft_time_limit else None,
    )
    ending = _execute(app, task, request, args, kwargs)
    asked = ending.error
    if isinstance(asked, Retry) and asked.changes is not None:
        changes = asked.changes
        again = args if changes.args is None else tuple(changes.args)
        with_kwargs = kwargs if changes.kwargs is None else dict(changes.kwargs)
        return apply_now(task, again, with_kwargs, task_id, retries + 1, throw, headers, options)
    if throw is None:
        throw = app.conf["task_eager_propagates"]
    outcome = EagerResult.of(task_id, ending, app, task.name)
    was_sent = app.eager.settle(outcome)
    _run_callbacks(app, request, ending)
    if ending.state == states.FAILURE and asked is not None:
        if throw:
            raise asked
        if was_sent:
            _log_failure(task, request, asked)
    return outcome


IGNORED_TIMES = ("expires", "soft_time_limit", "time_limit")
"""Options without effect here: the run begins at once, and the caller's own process can't be stopped."""


def _log_failure(task: Task, request: Context, error: BaseException) -> None:
    """Log the error of a call, as a worker does: nobody may ever ask for the result. `apply()` gives the result."""
    if isinstance(error, tuple(task.throws)):
        log.info("Task %s[%s] raised expected: %s", task.name, request.id, type(error).__name__)
    else:
        log.error("Task %s[%s] raised unexpected: %s", task.name, request.id, type(error).__name__, exc_info=error)


def _run_callbacks(app: AppLike, request: Context, ending: Ending) -> None:
    """Run the callbacks of a run that has succeeded, or the error callbacks of a run that has failed."""
    if ending.state == states.SUCCESS:
        for callback in request.callbacks or ():
            app.signature(callback).apply_async((ending.value,), parent_id=request.id, root_id=request.root_id)
    elif ending.state == states.FAILURE and ending.error is not None and request.errbacks:
        call_errbacks(app, request, ending.error, ending.error.__traceback__)


def _execute(app: AppLike, task: Task, request: Context, args: Any, kwargs: Any) -> Ending:
    args, kwargs = rebuild_arguments(task.called_as, args, kwargs)
    return Execution(
        task,
        request,
        args,
        kwargs,
        attempts=1,
        new_attempt=_attempt_opener(app),
        write=lambda value: value,
    ).run()


def _attempt_opener(app: AppLike) -> Callable[[], AbstractContextManager[Attempt]]:
    from pyramid.threadlocal import get_current_request  # this module is loaded only to run tasks

    request = get_current_request()
    manager = getattr(request, "tm", None)
    if request is None or manager is None or not is_active(manager):
        return lambda: _own_attempt(app)
    return lambda: nullcontext(CallersTransaction(request, TransactionBlocks(manager)))


@contextmanager
def _own_attempt(app: AppLike) -> Iterator[Attempt]:
    """Yield an attempt with a request and transaction of its own. The caller's transactions are not touched."""
    with transactions_set_aside(), attempt(app.registry) as run:
        yield run


class CallersTransaction(Attempt):
    """A run inside the caller's transaction: the caller commits or aborts."""

    def commit(self) -> None:
        pass

    abort = commit

    def may_retry(self, error: BaseException) -> bool:
        return False


@dataclass(frozen=True)
class EagerCall:
    """A call that runs in this process when its transaction has committed."""

    id: str
    task: str
    summary: str
    run: Callable[[], Any]
    settles: tuple[str, ...]
    """The ids of the pending results that the caller has got for the call."""
    messages: tuple[Message, ...] = ()
    """The message of a single task; empty for a canvas."""

    def for_log(self, codec: Codec | None = None) -> str:
        """Return a text of the call for the log."""
        return self.summary


class EagerDispatch:
    """Stands for the server under `task_always_eager`: runs a call where and when it would have been sent."""

    def __init__(self, app: AppLike) -> None:
        self._app = app
        self._results: dict[str, EagerResult] = {}

    def call(self, message: Message, local: Mapping[str, Any], manager: Any) -> EagerResult:
        """Run a task. In a transaction, the task runs after the commit, and its result is PENDING until then."""
        result: EagerResult = self._pending(self._app.AsyncResult(message.id, task_name=message.task))
        later = EagerCall(
            message.id, message.task, message.summary, lambda: self._run(message, local), (message.id,), (message,)
        )
        if not self._enlist(later, manager):
            self._run_and_settle(later)
        return result

    def call_canvas(self, signature: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Run a canvas. In a transaction, it runs after the commit, and its results are PENDING until then."""
        manager = options.pop("transaction_manager", None)
        options.pop("add_to_parent", None)
        call = signature.clone()
        if is_empty(call):
            return call.apply(args, kwargs)
        if self._app.conf["ptemporal.enlist"] != ENLIST_REQUIRED and current_transaction(manager) is None:
            return self._apply(call, args, kwargs, options)
        if isinstance(call, chord):  # its body may be given only now
            call.body, kwargs = call.body_and_kwargs(kwargs)
        if isinstance(call, group):  # in the order in which the members run, because freezing alone changes the order
            call.tasks = call.members()
        result = self._pending(call.freeze(options.pop("task_id", None)))
        ids = tuple(ids_in(result))
        later = EagerCall(str(result.id), call.task, repr(call), lambda: self._apply(call, args, kwargs, options), ids)
        if self._enlist(later, manager):
            return result
        for id in ids:
            self._results.pop(id, None)
        return later.run()

    def units(self, messages: Sequence[Any], blocks: Collection[str]) -> Sequence[Any]:
        """Return the calls unchanged: eager calls form no bundles."""
        return messages

    def codecs(self) -> Sequence[Codec]:
        """Return no codecs: payloads stay in this process."""
        return ()

    def open_outbox(self, transaction: Any) -> None:
        """Return None: a call that runs in this process ends with the process, so no row keeps it."""
        return None

    def after_commit(self, calls: Sequence[Any]) -> None:
        """Run the calls of a transaction that has committed."""
        for later in calls:
            try:
                self._run_and_settle(later)
            except Exception:  # the caller can't get it: its commit is done
                log.exception("Task %s[%s], run after the commit of its caller, raised", later.task, later.id)

    def settle(self, outcome: EagerResult) -> bool:
        """Give the outcome of a run to the result that its caller has. Return whether a caller has one."""
        result = self._results.pop(outcome.id, None)
        if result is not None:
            result.become(outcome)
        return result is not None

    def _enlist(self, later: EagerCall, manager: Any) -> bool:
        return enlist(later, self, self, self._app.conf["ptemporal.enlist"], manager)

    def _run_and_settle(self, later: EagerCall) -> None:
        try:
            with transactions_set_aside():  # as on a worker, where the caller's transactions don't exist
                later.run()
        except Exception as error:
            for id in later.settles:  # tasks that did not run because of the error
                self.settle(EagerResult(id, error, states.FAILURE, app=self._app))
            raise

    def _pending(self, result: Any) -> Any:
        if result is None:
            return None
        parent = self._pending(result.parent)
        if isinstance(result, GroupResult):
            return self._app.GroupResult(result.id, [self._pending(member) for member in result], parent=parent)
        pending = EagerResult(result.id, None, states.PENDING, name=result._name, app=self._app)
        pending.parent = parent
        self._results[result.id] = pending
        return pending

    def _apply(self, call: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        with allow_join_result():
            if isinstance(call, chord):
                return call.apply_eagerly(args or (), kwargs, options)
            return call.apply(args, kwargs, **options)

    def _run(self, message: Message, local: Mapping[str, Any]) -> None:
        # The arguments go through bytes and back, as on the way to a worker, so that a test sees what does not travel.
        body = read_body(message, [message.serializer, "json"])
        stamps = message.read_headers()
        options = {
            **options_of(message),
            "priority": message.priority,
            "routing_key": message.queue,
            "stamped_headers": stamps.pop("stamped_headers", None),
            **(stamps.pop("stamps", None) or {}),
            **local,
        }
        arguments = tuple(body["args"]), dict(body["kwargs"])
        with denied_join_result():
            apply_now(
                self._app.tasks[message.task],
                *arguments,
                message.id,
                message.retries,
                local.get("throw"),
                stamps,
                options,
            )


def ids_in(result: Any) -> Iterator[str]:
    """Yield the ids of the tasks in a result and in its parents."""
    if isinstance(result, GroupResult):
        for member in result:
            yield from ids_in(member)
    elif result is not None:
        yield str(result.id)
    if result is not None and result.parent is not None:
        yield from ids_in(result.parent)
