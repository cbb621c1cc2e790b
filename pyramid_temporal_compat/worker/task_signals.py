"""Tells what became of a message that the worker has taken: by Celery's signals, and to the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio import activity
from temporalio.common import RawValue

from .. import signals, states
from ..exceptions import NotRegistered
from ..message.message import Message
from .celery_request import Request
from .job import Job
from .outcome import EndedWithoutResult, Failed, Outcome, ReceiptUse, Replaced, Retried, Succeeded
from .taken_task import TakenTask, WorkerParts


def received(worker: WorkerParts, job: Job) -> None:
    """Count the task as received, and send `task_received`."""
    info = activity.info()
    waited = (info.started_time - info.current_attempt_scheduled_time).total_seconds()
    worker.watch.received(job.message, max(0.0, waited))
    if signals.task_received.receivers:
        request = _request(worker, job)
        signals.task_received.send(sender=worker.consumer, request=request)


def ended(worker: WorkerParts, taken: TakenTask, outcome: Outcome) -> None:
    """Tell the metrics how a run ended. Celery's own signals about it are sent in the pool."""
    message = taken.job.message
    if isinstance(outcome, (Succeeded, Replaced)):
        worker.watch.succeeded(message, taken.seconds)
        if outcome.receipt is ReceiptUse.LEFT:
            worker.watch.left_receipt(message)
        elif outcome.receipt is ReceiptUse.FOUND:
            worker.watch.found_receipt(message)
    elif isinstance(outcome, Failed):
        worker.watch.failed(message, str(outcome.error.get("type")))
    elif isinstance(outcome, Retried):
        worker.watch.retried(message)
    elif isinstance(outcome, EndedWithoutResult) and outcome.state.state == states.REJECTED:
        worker.watch.rejected(message)


def rejected(worker: WorkerParts, payloads: Sequence[RawValue], error: Exception) -> None:
    """Send `task_rejected`: the payloads are no message that this worker can run."""
    signals.task_rejected.send(sender=worker.consumer, message=payloads, exc=error)


def unknown(worker: WorkerParts, message: Message, text: str) -> None:
    """Send `task_unknown`."""
    if signals.task_unknown.receivers:
        signals.task_unknown.send(
            sender=worker.consumer, message=message, exc=NotRegistered(text), name=message.task, id=message.id
        )


def revoked(
    worker: WorkerParts,
    job: Job,
    *,
    expired: bool = False,
    terminated: bool = False,
    signum: Any = None,
) -> None:
    """Count the task as revoked, and send `task_revoked`."""
    worker.watch.revoked(job.message)
    if signals.task_revoked.receivers and job.message.task in worker.app.tasks:
        request = _request(worker, job)
        request.already_revoked = True
        task = worker.app.tasks[job.message.task]
        signals.task_revoked.send(sender=task, request=request, terminated=terminated, signum=signum, expired=expired)


def _request(worker: WorkerParts, job: Job) -> Request:
    return Request(worker.app, job.message, job.retries, worker.hostname, job.previous_results)
