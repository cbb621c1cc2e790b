"""Runs one job where the pool puts it: on a thread or in a child process. `Runner.__call__` lists the steps in order.

Nothing here knows of Temporal, so it runs as well in a child process that never loaded it.
"""

from __future__ import annotations

import dataclasses
import os
import time
from typing import TYPE_CHECKING, Any

from ..context import Context, running
from ..enlist.dispatch_end import dispatch_ends_told_to
from ..exceptions import CeleryError, ImproperlyConfigured
from ..payload.errors import to_wire
from ..payload.trace_carrier import trace_continued
from ..task.execution import Execution, Undecided, without_our_frames
from ..task.task import Task
from ..transactions.pyramid_request import attempt
from . import task_log
from .job import Began, Job, Progress
from .outcome import DatabaseAway, Failed, InDoubt, Outcome, ReceiptAnswer, ReceiptUse, Replaced, Succeeded
from .runs.arguments import read_arguments
from .runs.ending import outcome_of
from .runs.fired_task import tell_of_firing
from .runs.result import write_result
from .runs.task_request import make_request

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from .pools.pool import JobControl
    from .runs.receipts import Receipts


class Runner:
    """The handler that a worker gives its pool."""

    def __init__(self, app: AppLike) -> None:
        self._app = app
        self.receipts = receipts_of(app)

    def __call__(self, job: Job, control: JobControl) -> Outcome:
        """Run the job and return its outcome."""
        if job.only_asks_for_receipt:
            return self._receipt_answer(job)
        control.note(Began(os.getpid(), time.time()))
        app, message = self._app, job.message
        task = app.tasks[message.task]
        try:
            args, kwargs = read_arguments(app, task, job)
            request = make_request(app, job, task, args, kwargs)
            tell_of_firing(app, message, job.workflow_id, request)
        except Exception as raised:
            # What is wrong with a call is in the error's text; our own frames only hide it.
            error = raised.with_traceback(None) if isinstance(raised, CeleryError) else without_our_frames(raised)
            task_log.failed(message, error, job.hostname)
            return Failed(to_wire(error))
        progress = ProgressReports(request, control)
        execution = self._execution(task, job, request, control)
        began = time.monotonic()
        try:
            with trace_continued(job.trace), dispatch_ends_told_to(control.note):
                ending = execution.run() if job.failed_with is None else execution.follow(job.failed_with)
        except Undecided as undecided:
            outcome: Outcome = undecided.outcome
            return outcome
        if ending.outcome is not None:
            task_log.answered(message)
            answer: Outcome = dataclasses.replace(ending.outcome, receipt=ReceiptUse.FOUND)
            return answer
        if job.failed_with is not None:
            return Failed(to_wire(job.failed_with))
        with running(task, request):  # the log line names the task and its workflow
            task_log.ended(task, message, ending, time.monotonic() - began, job.hostname)
        ended = outcome_of(app, task, job, request, ending, progress.last)
        if execution.receipt is not None and execution.receipt.was_left and isinstance(ended, (Succeeded, Replaced)):
            return dataclasses.replace(ended, receipt=ReceiptUse.LEFT)
        return ended

    def _execution(self, task: Task, job: Job, request: Context, control: JobControl) -> Execution:
        app, message = self._app, job.message
        return Execution(
            task,
            request,
            request.args,
            request.kwargs,
            attempts=max(1, app.conf["ptemporal.transaction_attempts"]),
            new_attempt=lambda: attempt(app.registry),
            write=lambda value: write_result(app, task, message, request, value),
            call=control.interruptible,
            receipt=None if self.receipts is None else self.receipts.of_run(job, request),
            on_database_away=None if message.at_most_once else database_away,
        )

    def _receipt_answer(self, job: Job) -> Outcome:
        if self.receipts is None:
            return ReceiptAnswer(False)
        try:
            receipt = self.receipts.of_run(job, Context())
            return ReceiptAnswer(receipt.is_done(lambda: attempt(self._app.registry)))
        except Undecided as undecided:
            outcome: Outcome = undecided.outcome
            return outcome
        except Exception as error:
            return InDoubt(to_wire(without_our_frames(error)))


class ProgressReports:
    """Passes the states that `update_state` sets on to the worker, and keeps the last one."""

    def __init__(self, request: Context, control: JobControl) -> None:
        self._control = control
        self.last: Progress | None = None
        request.report = self._report

    def _report(self, state: str, meta: Any) -> None:
        self.last = Progress(state, meta)
        self._control.note(self.last)


def database_away(error: BaseException) -> DatabaseAway:
    return DatabaseAway(to_wire(without_our_frames(error)))


def receipts_of(app: AppLike) -> Receipts | None:
    """Return the receipts of the app's tasks; None if `ptemporal.receipts` is off."""
    if not app.conf["ptemporal.receipts"]:
        return None
    if app.conf["ptemporal.outbox"] is None:
        raise ImproperlyConfigured(
            "ptemporal.receipts = true, and ptemporal.outbox is not set: receipts are in the database that it names, "
            "and what a task has called is sent from there if its worker dies; "
            "set ptemporal.outbox = dbsession (the request attribute that holds the session)"
        )
    from .runs.receipts import Receipts  # imports SQLAlchemy, which takes 0.2 s: only with receipts on

    return Receipts(app)
