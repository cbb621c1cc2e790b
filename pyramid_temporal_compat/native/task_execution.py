"""Workflows call tasks: `await execute_task("myapp.tasks.mail", args=[…])` in the code of a workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from ..current import current_app
from ..interfaces import P, R
from ..task.task import Task


@overload
async def execute_task(
    task: Task[P, R], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
) -> R: ...
@overload
async def execute_task(
    task: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
) -> Any: ...
async def execute_task(
    task: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
) -> Any:
    """Run a task as an activity of the workflow that calls this, and return the task's result.

    The task has its retries, its time limits and its route, as after `apply_async`. If it fails, temporalio's
    `ApplicationError` is raised, whose `type` is the name of the task's error.

    :param task: a task, or the name of one. A task that this worker does not know needs a route or `queue=`.
    :param options: options of `apply_async`, such as `queue`, `countdown`, `expires`, `priority` and `time_limit`.
    """
    name = task if isinstance(task, str) else task.name
    return await current_app().execute_in_workflow(name, args, kwargs or {}, options)
