"""Findings about the application as it is when it is loaded: its tasks, its settings, its periodic tasks."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

from ..interfaces import AppLike
from ..settings.table import CELERY_NAMES
from .audit import Audit
from .findings import Finding
from .rules import RULES
from .settings_rules import said_of

SET_BY_NOBODY = frozenset({None, "default"})


def add_application(app: AppLike, path: str, result: Audit) -> None:
    """Add what the files could not tell: names that are computed, and settings that come from the ini."""
    for name, task in app.tasks.items():
        if not name.startswith("celery."):
            place = _place(task)
            if place not in result.tasks[name]:
                result.tasks[name].append(place)
    result.add(_settings(app, path))
    result.add(_schedule(app, path, set(app.tasks)))


def not_loaded(path: str, error: Exception) -> Finding:
    return Finding(RULES["PTC410"], path, 1, " ".join(str(error).split()))


def _place(task: Any) -> tuple[str, int]:
    try:
        function = inspect.unwrap(task.run)
        return os.path.relpath(inspect.getsourcefile(function) or ""), inspect.getsourcelines(function)[1]
    except (OSError, TypeError, ValueError):
        return "", 0


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
