"""Runs one job where the pool puts it: reads the message, has the task executed, writes down how it ended.

Nothing here knows of Temporal, so it runs as well in a child process that never loaded it.
"""

from __future__ import annotations

import datetime
import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .. import states
from ..canvas.tree_to_signature import Linked, LinkedContext
from ..context import Context
from ..exceptions import (
    ImproperlyConfigured,
    InvalidTaskError,
    NotSerializable,
    PayloadTooLarge,
    Reject,
    Retry,
    SecurityError,
)
from ..exceptions import Replaced as TaskReplaced
from ..message import wire_names as wire
from ..message.celery_view import request_values
from ..message.message import Message, total_size
from ..payload import Payload
from ..payload.annotations import rebuild_arguments
from ..payload.errors import to_wire
from ..payload.serializers import SIGNED, deserialize, serialize
from ..pyramid.request import attempt
from ..task.call_options import make_message
from ..task.execution import Ending, Execution, Undecided, in_the_application
from ..task.task import RetryChanges, Task
from ..text_safety import one_line
from . import task_log as task_log
from .outcome import (
    Asked,
    Away,
    Began,
    Failed,
    GivenBack,
    InDoubt,
    Job,
    Outcome,
    Progress,
    Replaced,
    Retried,
    added_by,
    children_of,
    fitting,
    succeeded,
)
from .previous_results import joined

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from .pools.pool import Control
    from .receipts import Receipts

log = logging.getLogger(__name__)


class Runner:
    """The handler that a worker gives its pool."""

    def __init__(self, app: AppLike) -> None:
        self._app = app
        self.receipts = receipts_of(app)

    def __call__(self, job: Job, control: Control) -> Outcome:
        if job.asks:
            return self._asked(job)
        control.note(Began(os.getpid(), time.time()))
        task = self._app.tasks[job.message.task]
        try:
            args, kwargs = self._arguments(task, job)
            request = task_request(self._app, job, task, args, kwargs)
        except Exception as raised:
            error = in_the_application(raised)
            task_log.failed(job.message, error, job.hostname)
            return Failed(to_wire(error))
        progress: list[Progress] = []

        def report(state: str, meta: Any) -> None:
            progress[:] = [Progress(state, meta)]
            control.note(progress[0])

        request.report = report
        execution = Execution(
            task,
            request,
            args,
            kwargs,
            attempts=max(1, self._app.conf["ptemporal.transaction_attempts"]),
            new_attempt=lambda: attempt(self._app.registry),
            write=lambda value: self._result(task, job.message, request, value),
            call=control.interruptible,
            once=None if self.receipts is None else self.receipts.once(job, request),
            again=None if job.message.at_most_once else lambda error: Away(to_wire(in_the_application(error))),
        )
        began = time.monotonic()
        try:
            ending = execution.run() if job.failed is None else execution.follow(job.failed)
        except Undecided as undecided:
            outcome: Outcome = undecided.outcome
            return outcome
        if ending.outcome is not None:
            task_log.answered(job.message)
            answer: Outcome = ending.outcome
            return answer
        if job.failed is not None:
            return Failed(to_wire(job.failed))
        task_log.ended(task, job.message, ending, time.monotonic() - began, job.hostname)
        return self._outcome(task, job, request, ending, progress[0] if progress else None)

    def _asked(self, job: Job) -> Outcome:
        if self.receipts is None:
            return Asked(False)
        try:
            return Asked(self.receipts.once(job, Context()).is_done(lambda: attempt(self._app.registry)))
        except Undecided as undecided:
            outcome: Outcome = undecided.outcome
            return outcome
        except Exception as error:
            return InDoubt(to_wire(in_the_application(error)))

    def _arguments(self, task: Task, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
        message = job.message
        accepted = self._app.conf["accept_content"]
        body = deserialize(message.body, accepted)
        if not isinstance(body, Mapping) or not isinstance(body.get("args"), (list, tuple)):
            raise InvalidTaskError(f"task {message.task}[{message.id}]: the body holds no arguments")
        args, kwargs = body["args"], body.get("kwargs")
        if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
            raise InvalidTaskError(f"task {message.task}[{message.id}]: the body holds no keyword arguments")
        if set(accepted) == {SIGNED} and (body.get("task"), body.get("id")) != (message.task, message.id):
            raise SecurityError(
                f"task {message.task}[{message.id}]: its arguments were signed for "
                f"{one_line(body.get('task'))}[{one_line(body.get('id'))}]: not run"
            )
        if message.joins is not None:
            args = [*joined(self._app, task, job, args, kwargs), *args]
        args, kwargs = rebuild_arguments(task.called_as, args, kwargs)
        if task.typing is not False:
            task.check_arguments(args, kwargs)
        return tuple(args), dict(kwargs)

    def _result(self, task: Task, message: Message, request: Context, value: Any) -> Payload:
        # Before the commit: a result that can't travel fails the task, and with it what the task wrote.
        if request.ignore_result and not message.is_passed_on:
            value = None
        conf = self._app.conf
        try:
            payload = serialize(value, conf["result_serializer"], conf["result_compression"])
        except NotSerializable as error:
            raise NotSerializable(f"the result of task {task.name!r}: {error}") from None
        if request.ignore_result:
            payload = Payload({**payload.metadata, wire.NOT_KEPT: b"1"}, payload.data)
        limit = conf["ptemporal.payload_limit"]
        size = total_size([wire.with_added(payload, added_by(request))])
        if size > limit:
            # The client library would refuse to send it, and the server would have the task run again, for ever.
            with_what = " with what it adds to its chord" if request.added else ""
            raise PayloadTooLarge(
                f"the result of task {task.name!r}{with_what} takes {size:,} bytes, the limit is {limit:,} "
                "(ptemporal.payload_limit): store the data and return its key"
            )
        return payload

    def _outcome(self, task: Task, job: Job, request: Context, ending: Ending, progress: Progress | None) -> Outcome:
        error = ending.error
        if error is None:
            return succeeded(job, request, ending.written, self._app.conf["ptemporal.payload_limit"])
        children = fitting(children_of(request), CHILDREN_OF_A_FAILURE, job.message)
        if isinstance(error, TaskReplaced):
            return Replaced(tuple(error.tree.encode()))
        if isinstance(error, Retry):
            try:
                return self._retried(task, job, error, request)
            except Exception as failure:  # what the retry asked for can't be sent: the task fails of that
                return Failed(to_wire(in_the_application(failure)), children=children)
        if ending.state == states.IGNORED:
            # A task that has set its own state and raises Ignore wants that one to stand.
            return GivenBack(progress or Progress(states.IGNORED, None), f"ignored: {error}")
        if ending.state == states.REJECTED and isinstance(error, Reject):
            return GivenBack(Progress(states.REJECTED, None), f"rejected: {error.reason}", requeue=True)
        return Failed(to_wire(error), isinstance(error, tuple(task.throws)), children)

    def _retried(self, task: Task, job: Job, asked: Retry, request: Context) -> Outcome:
        delay = asked.when or 0
        if isinstance(delay, datetime.datetime):
            delay = (delay - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
        changes = asked.changes
        message = self._changed(task, job, request, changes) if changes else None
        return Retried(max(0.0, float(delay)), to_wire(asked), message)

    def _changed(self, task: Task, job: Job, request: Context, changes: RetryChanges) -> Message:
        message = job.message
        changed = make_message(
            self._app,
            message.task,
            request.args if changes.args is None else tuple(changes.args),
            request.kwargs if changes.kwargs is None else dict(changes.kwargs),
            {**request.as_execution_options(), "queue": message.queue, "priority": message.priority, **changes.options},
            task,
        ).copy(retries=job.retries + 1, chord=message.chord, follows=message.follows, linked=message.linked)
        size, limit = total_size(changed.encode()), self._app.conf["ptemporal.payload_limit"] * 3 // 4
        if size > limit:
            # It travels in the failure of this run, as base64.
            raise PayloadTooLarge(
                f"task {task.name!r}: the arguments of its retry take {size:,} bytes, the limit for these is {limit:,} "
                "(three quarters of ptemporal.payload_limit): store the data and pass its key"
            )
        return changed


CHILDREN_OF_A_FAILURE = 256 * 1024
"""Bytes: the error beside them may take half a megabyte, and the server takes 2 MiB."""


def receipts_of(app: AppLike) -> Receipts | None:
    """What has tasks leave receipts; None where they leave none."""
    if not app.conf["ptemporal.receipts"]:
        return None
    if app.conf["ptemporal.outbox"] is None:
        raise ImproperlyConfigured(
            "ptemporal.receipts = true, and ptemporal.outbox is not set: receipts are in the database that it names, "
            "and what a task has called is sent from there if its worker dies; "
            "set ptemporal.outbox = dbsession (the request attribute that holds the session)"
        )
    from .receipts import Receipts  # SQLAlchemy's import, 0.2 s: for those who turned them on

    return Receipts(app)


def task_request(app: AppLike, job: Job, task: Task, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Context:
    """What the task sees as `self.request`."""
    message = job.message
    values = request_values(message, job.retries, job.hostname, job.redelivered)
    linked = {} if message.linked is None else {"linked": Linked(app, message, job.before)}
    values |= {
        **linked,
        "args": args,
        "called_directly": False,
        "ignore_result": bool(task.ignore_result if message.ignore_result is None else message.ignore_result),
        "kwargs": kwargs,
        "workflow_id": job.workflow_id,
    }
    return (LinkedContext if linked else Context)(values)
