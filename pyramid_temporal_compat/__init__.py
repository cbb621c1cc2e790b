"""Celery's task API on Temporal, for Pyramid applications.

PYTEST_DONT_REWRITE: the package has no `assert`. Else pytest warns if the package is imported before pytest starts.
"""

from __future__ import annotations

from typing import Any

from .app import Celery, shared_task
from .as_celery import install_as_celery, unsupported
from .as_celery.bugreport import bugreport
from .as_celery.local_proxies import current_app, current_task
from .canvas import (
    Signature,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from .celery_names.ids import uuid
from .context import current_frame
from .results.result import AsyncResult
from .task.task import Task
from .version import __version__

task = shared_task


def includeme(config: Any) -> None:
    """Set up a Pyramid application: `config.include("pyramid_temporal_compat")` calls this."""
    from .pyramid import includeme  # imports Pyramid: 0.2 s, and only Pyramid applications call this

    includeme(config)


__all__ = [
    "AsyncResult",
    "Celery",
    "Signature",
    "Task",
    "__version__",
    "bugreport",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_frame",
    "current_task",
    "group",
    "install_as_celery",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "task",
    "unsupported",
    "uuid",
    "xmap",
    "xstarmap",
]
