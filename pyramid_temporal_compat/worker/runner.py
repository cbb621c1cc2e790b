"""Runs one job where the pool puts it: arguments, request, transaction, function, result.

The steps stand in order in `Runner.run`; nothing here knows of Temporal, so it runs as well in a child
process that never loaded it.
"""

from __future__ import annotations

import asyncio
import datetime
import inspect
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import states
from ..calling import make_message
from ..context import Context, running
from ..exceptions import Ignore, InvalidTaskError, NotSerializable, PayloadTooLarge, Reject, Retry
from ..message import Message, total_size
from ..payload import Payload
from ..payload.annotations import rebuild_arguments
from ..payload.errors import to_wire
from ..payload.serializers import deserialize, serialize
from ..pyramid.request import attempt
from ..task import Task
from .outcome import Began, Failed, GivenBack, Job, Outcome, Retried, Succeeded

if TYPE_CHECKING:
    from ..app import Celery
    from .pools import Control

log = logging.getLogger(__name__)


class Runner:
    """The handler that a worker gives its pool."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def __call__(self, job: Job, control: Control) -> Outcome:
        control.note(Began(os.getpid(), time.time()))
        message = job.message
        task = self._app.tasks[message.task]
        try:
            args, kwargs = self._arguments(task, message)
            request = task_request(job, args, kwargs)
        except Exception as error:
            return Failed(to_wire(in_the_application(error)))
        request.report = control.note
        with running(task, request):
            try:
                try:
                    return self._transact(task, request, lambda: invoke(task, args, kwargs, control))
                except Retry as asked:
                    return self._retried(task, job, asked, request)  # fails, as the task then does, if it can't be sent
            except Ignore as ignored:
                return GivenBack(states.IGNORED, f"ignored: {ignored}")
            except Reject as rejected:
                return GivenBack(states.REJECTED, f"rejected: {rejected.reason}", requeue=rejected.requeue)
            except (Exception, SystemExit) as error:
                return Failed(to_wire(in_the_application(error)), expected=isinstance(error, tuple(task.throws)))

    def _arguments(self, task: Task, message: Message) -> tuple[tuple[Any, ...], dict[str, Any]]:
        body = deserialize(message.body, self._app.conf.accept_content)
        try:
            args, kwargs = body["args"], body["kwargs"]
        except (TypeError, KeyError):
            raise InvalidTaskError(
                f"task {message.task}[{message.id}]: the body holds no arguments: {body!r}"
            ) from None
        args, kwargs = rebuild_arguments(task.run, args, kwargs)
        if task.typing is not False:
            task.check_arguments(args, kwargs)
        return tuple(args), dict(kwargs)

    def _transact(self, task: Task, request: Context, call: Callable[[], Any]) -> Outcome:
        """Call inside a transaction, anew while its database says that trying again may help."""
        attempts = max(1, self._app.conf.ptemporal_transaction_attempts)
        for number in range(1, attempts + 1):
            with attempt(self._app.registry) as run:
                request.pyramid_request = run.request
                try:
                    result = self._result(task, call())
                    if request.retry_asked is not None:
                        raise request.retry_asked
                    run.commit()
                    return Succeeded(result)
                except Exception as error:
                    if number == attempts or not run.may_retry(error):
                        raise
                    log.warning("%s[%s]: transaction attempt %d: %r", task.name, request.id, number, error)
                    request.children = None
        raise AssertionError("unreachable")

    def _result(self, task: Task, value: Any) -> Payload:
        # Before the commit: a result that can't travel fails the task, and with it what the task wrote.
        if task.ignore_result or task.request.ignore_result:
            value = None
        conf = self._app.conf
        try:
            payload = serialize(value, conf.result_serializer, conf.result_compression)
        except NotSerializable as error:
            raise NotSerializable(f"the result of task {task.name!r}: {error}") from None
        size, limit = total_size([payload]), conf.ptemporal_payload_limit
        if size > limit:
            # The client library would refuse to send it, and the server would have the task run again, for ever.
            raise PayloadTooLarge(
                f"the result of task {task.name!r} takes {size:,} bytes, the limit is {limit:,} "
                "(ptemporal.payload_limit): store the data and return its key"
            )
        return payload

    def _retried(self, task: Task, job: Job, asked: Retry, request: Context) -> Outcome:
        delay = asked.when or 0
        if isinstance(delay, datetime.datetime):
            delay = (delay - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
        changes = getattr(asked, "changes", None)
        message = None
        if changes:
            message = self._changed(task, job, request, changes)
        return Retried(max(0.0, float(delay)), to_wire(asked), message)

    def _changed(self, task: Task, job: Job, request: Context, changes: Any) -> Message:
        message = job.message
        changed = make_message(
            self._app,
            message.task,
            request.args if changes.args is None else tuple(changes.args),
            request.kwargs if changes.kwargs is None else dict(changes.kwargs),
            {**request.as_execution_options(), "queue": message.queue, "priority": message.priority, **changes.options},
            task,
        ).copy(retries=job.retries + 1)
        size, limit = total_size(changed.encode()), self._app.conf.ptemporal_payload_limit * 3 // 4
        if size > limit:
            # It travels in the failure of this run, as base64.
            raise PayloadTooLarge(
                f"task {task.name!r}: the arguments of its retry take {size:,} bytes, the limit for these is {limit:,} "
                "(three quarters of ptemporal.payload_limit): store the data and pass its key"
            )
        return changed


def invoke(task: Task, args: tuple[Any, ...], kwargs: dict[str, Any], control: Control) -> Any:
    """Call the task's function; what `autoretry_for` names becomes a retry."""
    custom_call = type(task).__call__ is not Task.__call__
    try:
        return control.interruptible(lambda: to_value((task if custom_call else task.run)(*args, **kwargs)))
    except (Retry, Ignore, Reject):
        raise
    except Exception as error:
        if not isinstance(error, tuple(task.autoretry_for)) or isinstance(error, tuple(task.dont_autoretry_for)):
            raise
        options = dict(task.retry_kwargs)
        if task.retry_backoff:
            options["countdown"] = task.backoff(task.request.retries)
        raise task.retry(exc=error, **options) from error


def in_the_application(error: BaseException) -> BaseException:
    """The error with a traceback that begins in the application's code: the way there is ours, and always the same."""
    steps = error.__traceback__
    while steps is not None and steps.tb_frame.f_code.co_filename.startswith(OUR_CODE):
        steps = steps.tb_next
    return error.with_traceback(steps) if steps is not None else error


OUR_CODE = str(Path(__file__).resolve().parent.parent)


def to_value(value: Any) -> Any:
    """An `async def` task gets an event loop of its own, so that its request and transaction stay its own too."""
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def task_request(job: Job, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Context:
    """What the task sees as `self.request`."""
    message = job.message
    return Context(
        args=args,
        argsrepr=message.argsrepr,
        called_directly=False,
        correlation_id=message.id,
        delivery_info={
            "exchange": "",
            "routing_key": message.queue,
            "priority": message.priority,
            "redelivered": False,
        },
        eta=message.eta.isoformat() if message.eta else None,
        expires=message.expires.isoformat() if message.expires else None,
        headers=message.read_headers() or None,
        hostname=job.hostname,
        id=message.id,
        ignore_result=message.ignore_result,
        kwargs=kwargs,
        kwargsrepr=message.kwargsrepr,
        origin=message.origin,
        parent_id=message.parent_id,
        retries=job.retries,
        root_id=message.root_id,
        shadow=message.shadow,
        task=message.task,
        timelimit=(message.time_limit, message.soft_time_limit),
    )
