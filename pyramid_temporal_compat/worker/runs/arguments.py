"""Step: read the arguments from the message's body, with the results of earlier tasks in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...message.body import read_body
from ...payload.annotations import rebuild_arguments
from ...payload.bounds import read_together
from ...security.signed_places import accepts_only_signed, check_body
from ...task.task import Task
from ..job import Job
from .previous_results import previous_results

if TYPE_CHECKING:
    from ...interfaces import AppLike


@read_together()
def read_arguments(app: AppLike, task: Task, job: Job) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments and keyword arguments that the function is called with.

    They share one bound, because a chord's body may get thousands of results.
    """
    message = job.message
    body = read_body(message, app.conf["accept_content"])
    args, kwargs = body["args"], body["kwargs"]
    if accepts_only_signed(app):
        check_body(message, body)
    if message.joins is not None:
        args = [*previous_results(app, task, job, body), *args]
    args, kwargs = rebuild_arguments(task.called_as, args, kwargs)
    if task.typing is not False:
        task.check_arguments(args, kwargs)
    return tuple(args), dict(kwargs)
