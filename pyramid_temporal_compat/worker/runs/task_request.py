"""Step: make the request that the task sees as `self.request`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...canvas.tree_to_signature import Linked, LinkedContext
from ...context import Context
from ...message.celery_view import request_values
from ...task.task import Task
from ..job import Job

if TYPE_CHECKING:
    from ...interfaces import AppLike


def make_request(app: AppLike, job: Job, task: Task, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Context:
    """Return the task's `self.request`, before its Pyramid request is made."""
    message = job.message
    values = request_values(message, job.retries, job.hostname, job.redelivered)
    linked = {} if message.linked is None else {"linked": Linked(app, message, job.previous_results)}
    values |= {
        **linked,
        "args": args,
        "called_directly": False,
        "ignore_result": bool(task.ignore_result if message.ignore_result is None else message.ignore_result),
        "kwargs": kwargs,
        "workflow_id": job.workflow_id,
        "workflow_run_id": job.run_id or None,
    }
    return (LinkedContext if linked else Context)(values)
