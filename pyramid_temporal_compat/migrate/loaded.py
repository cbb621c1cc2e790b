"""Findings about the application as it is when it is loaded: its tasks, its settings, its periodic tasks."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

from ..interfaces import AppLike
from ..settings.table import CELERY_NAMES
from .audit import Audit
from .findings import Finding, TaskPlace
from .rules import RULES
from .settings_rules import said_of

SET_BY_NOBODY = frozenset({None, "default"})


def add_application(app: AppLike, path: str, result: Audit) -> None:
    """Add the tasks that the files did not show, and what is to be said of the settings and the periodic tasks."""
    read = {(os.path.realpath(each.path), each.function) for each in result.tasks}
    loaded = [_place(name, task) for name, task in app.tasks.items() if not name.startswith("celery.")]
    result.tasks += [each for each in loaded if (os.path.realpath(each.path), each.function) not in read]
    result.add(_settings(app, path))
    result.add(_schedule(app, path, set(app.tasks)))


def not_loaded(path: str, error: Exception) -> Finding:
    return Finding(RULES["PTC410"], path, 1, " ".join(str(error).split()))


def _place(name: str, task: Any) -> TaskPlace:
    try:
        function = inspect.unwrap(task.run)
        path, line = os.path.relpath(inspect.getsourcefile(function) or ""), inspect.getsourcelines(function)[1]
        return TaskPlace(path, line, function.__name__, name)
    except (OSError, TypeError, ValueError, AttributeError):
        return TaskPlace("", 0, "", name)


def _settings(app: AppLike, path: str) -> Iterator[Finding]:
    for name in CELERY_NAMES:
        if app.conf.origin(name) not in SET_BY_NOBODY and name != "beat_schedule":
            for said in said_of(name, str(app.conf[name]), own_section=True):
                yield Finding(RULES[said.code], path, 1, f"{name} of the loaded application", said.sentence)


def _schedule(app: AppLike, path: str, known: set[str]) -> Iterator[Finding]:
    for name, entry in (app.conf.beat_schedule or {}).items():
        task = entry.get("task") if isinstance(entry, dict) else getattr(entry, "task", None)
        yield Finding(RULES["PTC501"], path, 1, f"{name} of the loaded application")
        if isinstance(task, str) and task not in known:
            detail = f"{task}, which the periodic task {name!r} names"
            yield Finding(RULES["PTC907"], path, 1, detail)
