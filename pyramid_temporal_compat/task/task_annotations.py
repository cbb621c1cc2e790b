"""The setting `task_annotations`: sets attributes of tasks from the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..settings.config_objects import import_object

if TYPE_CHECKING:
    from ..interfaces import AppLike, TaskLike


def has_annotations(app: AppLike, task: TaskLike) -> bool:
    """Return whether the app's configuration has annotations for this task."""
    return any(True for _ in annotations_for(app, task))


def annotate(app: AppLike, task: TaskLike) -> None:
    """Set the attributes that the app's configuration has for this task. A key `@name` wraps the method `name`."""
    for values in annotations_for(app, task):
        for name, value in values.items():
            if name.startswith("@"):
                wrap_method(type(task), name[1:], value)
            else:
                setattr(task, name, value)


def wrap_method(cls: type[TaskLike], name: str, around: Callable[[Any], Any]) -> None:
    """Replace a method of a task class by `around(method)`. An earlier wrapper of the method is dropped."""
    method = getattr(cls, name)
    inner = getattr(method, "__wrapped__", method)
    wrapped = around(inner)
    wrapped.__wrapped__ = inner
    setattr(cls, name, wrapped)


def annotations_for(app: AppLike, task: TaskLike) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings of attributes that apply to this task, in the order of the setting."""
    for annotation in app.annotations:
        if isinstance(annotation, Mapping):
            found = annotation.get(task.name) or annotation.get("*")
        else:
            found = _call_if_defined(annotation, "annotate", task) or _call_if_defined(annotation, "annotate_any")
        if found:
            yield found


def _call_if_defined(annotation: Any, method: str, *args: Any) -> Any:
    return getattr(annotation, method)(*args) if hasattr(annotation, method) else None


def prepare_annotations(setting: Any) -> tuple[Any, ...]:
    """Return the setting as a tuple of mappings and objects. A text is the dotted name of a class."""
    if setting is None:
        return ()
    entries = setting if isinstance(setting, (list, tuple)) else (setting,)
    return tuple(import_object(entry)() if isinstance(entry, str) else entry for entry in entries)
