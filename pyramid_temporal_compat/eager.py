"""Eager runs: `task.apply()`, and what `task_always_eager` makes of a call."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from . import states
from .calling import new_id
from .context import Context, current_frame
from .dispatch.transaction import has_begun
from .exceptions import Retry
from .execution import Ending, Execution
from .message import Message
from .payload.annotations import rebuild_arguments
from .payload.serializers import deserialize
from .pyramid.request import Attempt, attempt
from .result import EagerResult
from .task import Task

if TYPE_CHECKING:
    from .app import Celery


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
    """Run a task here. Inside a Pyramid request whose transaction has begun it joins that; else it gets its own."""
    app = task.app
    task_id = task_id or new_id()
    frame = current_frame()
    parent = frame[1] if frame else None
    request = Context(
        called_directly=False,
        args=args,
        kwargs=kwargs,
        delivery_info={
            "is_eager": True,
            "exchange": options.get("exchange"),
            "routing_key": options.get("routing_key"),
            "priority": options.get("priority"),
        },
        headers=dict(headers) if headers else None,
        hostname=socket.gethostname(),
        id=task_id,
        ignore_result=bool(options.get("ignore_result", task.ignore_result)),
        is_eager=True,
        parent_id=parent.id if parent else None,
        retries=retries,
        root_id=(parent.root_id if parent else None) or task_id,
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
    if throw and ending.state == states.FAILURE and asked is not None:
        raise asked
    return EagerResult.of(task_id, ending, app, task.name)


def _execute(app: Celery, task: Task, request: Context, args: Any, kwargs: Any) -> Ending:
    args, kwargs = rebuild_arguments(task.called_as, args, kwargs)
    return Execution(
        task,
        request,
        args,
        kwargs,
        attempts=1,
        new_attempt=_joined_or_own(app),
        write=lambda value: value,
    ).run()


def _joined_or_own(app: Celery) -> Callable[[], AbstractContextManager[Attempt]]:
    from pyramid.threadlocal import get_current_request  # this module is only loaded by who runs tasks

    request = get_current_request()
    manager = getattr(request, "tm", None)
    if request is None or manager is None or not has_begun(manager):
        return lambda: attempt(app.registry)
    return lambda: nullcontext(Joined(request, manager))


class Joined(Attempt):
    """A run inside the caller's transaction, which the caller ends."""

    def commit(self) -> None:
        pass

    commit_if_begun = abort = commit

    def may_retry(self, error: BaseException) -> bool:
        return False


class EagerDispatch:
    """Stands for the server under `task_always_eager`: a message is run where and when it would have left."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._results: dict[str, EagerResult] = {}

    def result(self, message: Message) -> EagerResult:
        """The result that a call gives before its transaction has ended: PENDING until then."""
        result = EagerResult(message.id, None, states.PENDING, name=message.task, app=self._app)
        self._results[message.id] = result
        return result

    def after_commit(self, messages: tuple[Message, ...]) -> None:
        for message in messages:
            self.run(message)

    def run(self, message: Message) -> None:
        task = self._app.tasks[message.task]
        # Through bytes and back, as on its way to a worker: what would not travel does not pass a test either.
        body = deserialize(message.body, [message.serializer, "json"])
        result = self._results.pop(message.id, None)
        options = {"priority": message.priority, "routing_key": message.queue, "ignore_result": message.ignore_result}
        outcome = apply_now(
            task,
            tuple(body["args"]),
            dict(body["kwargs"]),
            message.id,
            message.retries,
            None,
            message.headers,
            options,
        )
        if result is not None:
            result.become(outcome)
