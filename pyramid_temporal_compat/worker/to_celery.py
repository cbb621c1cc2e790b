"""A worker that runs no task itself: it publishes each task to Celery's broker, and waits for the result there.

So a queue whose workers have not moved takes part in calls and canvases of this side. A task keeps its id, and Redis
takes a call with one id once. So if this worker is killed, another one goes on waiting for the same run.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from .. import states
from ..celery_names.urls import sanitize_url
from ..celery_side.clients import REDIS_SCHEMES, scheme_of
from ..celery_side.publisher import publish
from ..client.status import Status
from ..context import Context
from ..control.limits import Limits
from ..exceptions import ImproperlyConfigured, OperationalError, Terminated
from ..log_lines.text_safety import one_line
from ..log_lines.throttled_log import ThrottledLog
from ..message.backoff import exponential_pauses
from ..message.celery_call import AWAITED
from ..message.for_celery import NO_EMBED, celery_call
from ..message.message import Message
from ..payload.errors import from_plain, to_wire
from ..results.old_results import SETTING, OldResults
from ..results.result import as_exception
from ..security.signed_results import value_for
from ..task.execution import Ending, without_our_frames
from ..task.task import Task
from . import task_log
from .job import Began, Job
from .outcome import Failed, Outcome, ReceiptAnswer
from .pools.pool import Note
from .pools.pool_choice import pool_name
from .pools.threads import ThreadPool
from .runs.arguments import read_arguments
from .runs.ending import outcome_of
from .runs.result import write_result
from .runs.task_request import make_request
from .taken_task import NO_LIMITS

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from .pools.pool import JobControl

log = logging.getLogger(__name__)

T = TypeVar("T")

CONCURRENCY = 100
"""Tasks that the worker waits for at a time, unless `-c` says otherwise. Each has a thread, which mostly sleeps."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two looks at the result backend, or two attempts to reach the broker: the first and the longest."""


def waiting_pool(asked: object) -> str:
    """Return the name of the pool of such a worker. Raise if the command line asks for another one."""
    if asked and pool_name(asked) != "threads":
        raise ImproperlyConfigured(f"--to-celery waits for tasks in threads: leave out -P {asked}")
    return "threads"


class WaitingPool(ThreadPool):
    """Runs jobs without time limits: Celery's worker gets the limits with the message, and keeps them."""

    async def run(self, job: Any, limits: Limits, note: Note) -> Any:
        return await super().run(job, NO_LIMITS, note)


class CeleryRunner:
    """The handler of such a worker's pool, in the place of `Runner`."""

    receipts = None

    def __init__(self, app: AppLike, url: str) -> None:
        if scheme_of(url) not in REDIS_SCHEMES:
            raise ImproperlyConfigured(
                f"--to-celery {sanitize_url(url)}: it takes a broker in Redis. Other brokers can't tell that a task "
                "was published before, so a killed worker would have it run twice"
            )
        old: OldResults | None = app.old_results
        if old is None:
            raise ImproperlyConfigured(
                f"--to-celery reads results from Celery's result backend, and {SETTING} is not set, as in "
                f"{SETTING} = redis://localhost:6379/1"
            )
        self._app = app
        self._url = url
        self._old = old
        self._away = ThrottledLog(log, logging.ERROR)

    def __call__(self, job: Job, control: JobControl) -> Outcome:
        """Publish the job's task, wait for its end on Celery's side, and return it as the outcome."""
        if job.only_asks_for_receipt:
            return ReceiptAnswer(False)
        if job.failed_with is not None:  # the hooks that follow a failure belong to Celery's worker
            return Failed(to_wire(job.failed_with))
        control.note(Began(os.getpid(), time.time()))
        app, message = self._app, job.message
        task: Task = app.tasks[message.task]
        began = time.monotonic()
        try:
            args, kwargs = read_arguments(app, task, job)
            request = make_request(app, job, task, args, kwargs)
            status = control.interruptible(lambda: self._run_on_celery(message, request))
            if status.error is not None:
                return self._failed(task, job, status.error)
            value = None if status.result is None else value_for(app, message.id, status.result)
            ending = Ending(states.SUCCESS, value, write_result(app, task, message, request, value))
        except Terminated:
            raise
        except Exception as raised:
            error = without_our_frames(raised)
            task_log.failed(message, error, job.hostname)
            return Failed(to_wire(error))
        task_log.ended(task, message, ending, time.monotonic() - began, job.hostname)
        return outcome_of(app, task, job, request, ending, None)

    def _run_on_celery(self, message: Message, request: Context) -> Status:
        """Publish the task, and return its status once it has ended. A result that nobody keeps is not waited for."""
        if request.ignore_result and message.is_passed_on:
            raise ImproperlyConfigured(
                f"task {message.task!r}: another task needs its result, and Celery keeps none (ignore_result)"
            )
        awaited = message.copy(headers={**message.headers, AWAITED: True})
        call = celery_call(awaited, self._url, (list(request.args), dict(request.kwargs)), NO_EMBED, (message,))
        self._until_it_answers(lambda: publish(call))
        if request.ignore_result:
            return Status(states.SUCCESS)
        for pause in exponential_pauses(FIRST_PAUSE, LONGEST_PAUSE):
            status = self._until_it_answers(lambda: self._old.status(message.id))
            if status is not None and status.ended:
                return status
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _until_it_answers(self, ask: Callable[[], T]) -> T:
        """Return what `ask` returns. Ask again while Celery's broker or result backend is away."""
        pauses = exponential_pauses(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                return ask()
            except OperationalError as error:
                self._away.say("Celery's side is away (%d times since this was said): %s", one_line(error))
            time.sleep(next(pauses))

    def _failed(self, task: Task, job: Job, written: Mapping[str, Any]) -> Failed:
        error = as_exception(from_plain(written))
        task_log.failed(job.message, error, job.hostname)
        return Failed(written, isinstance(error, tuple(task.throws)))
