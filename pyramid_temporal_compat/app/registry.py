"""The tasks of an app, by name."""

from __future__ import annotations

import warnings
from typing import Any

from ..exceptions import DuplicateTaskNameWarning, InvalidTaskError, NotRegistered
from ..task.task import Task

BUILTIN_PREFIX = "celery."


class TaskRegistry(dict[str, Task]):
    """The tasks of one app. An unknown name raises `NotRegistered`."""

    NotRegistered = NotRegistered

    def __missing__(self, name: str) -> Task:
        raise NotRegistered(
            f"task {name!r} is not registered; {len(self.own())} tasks are known here "
            "(ptemporal-compat list tasks app.ini); add its module to ptemporal.include"
        )

    def own(self) -> list[str]:
        """Return the names of the application's tasks, without the built-in tasks of every app."""
        return sorted(name for name in self if not name.startswith(BUILTIN_PREFIX))

    def register(self, task: Task | type[Task]) -> Task:
        """Add a task, or a task made of this class, under its name. Return the task."""
        made: Any = task() if isinstance(task, type) else task
        if not made.name:
            raise InvalidTaskError(f"task class {type(made).__name__!r} has no name; set its attribute `name`")
        self[made.name] = made
        return made  # type: ignore[no-any-return]

    def unregister(self, name: str | Task) -> None:
        """Remove a task, given by its name or itself."""
        key = name if isinstance(name, str) else str(name.name)
        if key not in self:
            self.__missing__(key)
        del self[key]


def warn_of_duplicate(known: Task, other: Any, stacklevel: int) -> None:
    """Warn that a second function asks for the name of the task `known`, which keeps the name, as in Celery."""
    origin = known.__wrapped__
    if origin is other or _full_name(origin) == _full_name(other):
        return  # the same function again: its module was loaded twice
    warnings.warn(
        DuplicateTaskNameWarning(
            f"the task name {known.name!r} is taken by {_full_name(origin or type(known))}, which keeps it; "
            f"{_full_name(other)} is not registered; give it another name"
        ),
        stacklevel=stacklevel,
    )


def _full_name(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', function)}"
