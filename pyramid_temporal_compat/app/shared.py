"""`@shared_task`: makes a task without an app. Every app of the process has it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Literal, overload

from .. import current
from ..interfaces import P, R
from ..task.task import Task
from ..task.task_annotations import has_annotations
from ..task.task_from_function import task_from_function

if TYPE_CHECKING:
    from ..interfaces import AppLike


@dataclass(frozen=True)
class SharedTask:
    """A function under `@shared_task`, its options, and the task that most apps share."""

    function: Callable[..., Any]
    options: dict[str, Any]
    task: Task

    def for_app(self, app: AppLike) -> Task:
        """Return the shared task; for an app with its own base class or annotations, make a task of its own."""
        if app.Task is Task and not has_annotations(app, self.task):
            return self.task
        task: Task = app.make_task(self.function, self.options)
        return task


_shared: dict[str, SharedTask] = {}


@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Any) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
@overload
def shared_task(*, bind: Literal[False] = ..., **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def shared_task(*args: Any, **options: Any) -> Any:
    """Make a task of a function. A call belongs to the app that is current at that time."""
    return decorate(args, options, _make)


def shared_tasks() -> list[SharedTask]:
    """Return every shared task of this process."""
    return list(_shared.values())


def _make(function: Callable[..., Any], options: dict[str, Any]) -> Task:
    name = options.get("name") or task_name(None, function.__name__, function.__module__)
    known = _shared.get(name)
    if in_workflow_sandbox():
        return task_from_function(function, name, None, options) if known is None else known.task
    if known is not None and known.function is function:
        return known.task
    shared = SharedTask(function, options, task_from_function(function, name, None, options))
    _shared[name] = shared
    for app in list(current.apps):
        if app.finalized:
            app.adopt(shared)
    return shared.task


def in_workflow_sandbox() -> bool:
    """Return whether a workflow's sandbox imports a module anew. Its copies of tasks must not replace the tasks."""
    workflow: Any = sys.modules.get("temporalio.workflow")
    return workflow is not None and bool(workflow.unsafe.in_sandbox())


def decorate(args: tuple[Any, ...], options: dict[str, Any], make: Callable[..., Task]) -> Any:
    """Apply `make` for `@task`, or return a decorator that does, for `@task(...)`."""
    options.pop("lazy", None)  # Celery's option to make a task at its first use; ours are made at once
    options.pop("shared", None)
    if len(args) == 1 and callable(args[0]):
        return make(args[0], options)
    if args:
        raise TypeError(f"@task takes a function or keyword options, not {args!r}; write @task(name={args[0]!r})")
    return lambda function: make(function, dict(options))


def task_name(main: str | None, name: str, module: str) -> str:
    """Return the name of a task: its module and its own name. For a script, the app's name is the module."""
    if module == "__main__" and main:
        module = main
    return f"{module}.{name}" if module else name
