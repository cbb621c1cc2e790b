"""Shared tasks: decorated without an app, and a task of every app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Literal, overload

from .. import current
from ..task.task import Task
from ..task.task_annotations import has_annotations
from ..task.task_from_function import task_from_function
from ..typed_calls import P, R

if TYPE_CHECKING:
    from ..interfaces import AppLike


@dataclass(frozen=True)
class SharedTask:
    """What `@shared_task` was given, and the task that it made for apps that ask for nothing else."""

    function: Callable[..., Any]
    options: dict[str, Any]
    task: Task

    def for_app(self, app: AppLike) -> Task:
        """The task as this app has it: one of its own, if it has a base class or annotations of its own."""
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
    """Make a task of a function, for whichever app is current when it is called."""
    return decorate(args, options, _make)


def shared_tasks() -> list[SharedTask]:
    return list(_shared.values())


def _make(function: Callable[..., Any], options: dict[str, Any]) -> Task:
    name = options.get("name") or task_name(None, function.__name__, function.__module__)
    known = _shared.get(name)
    if known is not None and known.function is function:
        return known.task
    shared = SharedTask(function, options, task_from_function(function, name, None, options))
    _shared[name] = shared
    for app in list(current.apps):
        if app.finalized:
            app.adopt(shared)
    return shared.task


def decorate(args: tuple[Any, ...], options: dict[str, Any], make: Callable[..., Task]) -> Any:
    """`@task` and `@task(...)`, with one function for both."""
    options.pop("lazy", None)  # Celery's: whether a task is made at its first use; ours are made at once
    options.pop("shared", None)
    if len(args) == 1 and callable(args[0]):
        return make(args[0], options)
    if args:
        raise TypeError(f"@task takes a function or keyword options, not {args!r}; write @task(name={args[0]!r})")
    return lambda function: make(function, dict(options))


def task_name(main: str | None, name: str, module: str) -> str:
    """A task's name: its module and its own name, with the app's name where the module is a script."""
    if module == "__main__" and main:
        module = main
    return f"{module}.{name}" if module else name
