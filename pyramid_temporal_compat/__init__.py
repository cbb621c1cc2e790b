"""Celery's task API on Temporal, for Pyramid applications.

PYTEST_DONT_REWRITE: the package has no `assert`. Else pytest warns if the package is imported before pytest starts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from .app.send_to_celery import send_to_celery
    from .native import activity
    from .native.context import ActivityContext
    from .native.interceptor import TransactionInterceptor
    from .native.request_temporal import connect, temporal
    from .native.task_execution import execute_task
    from .native.worker import Worker

task = shared_task

LOADED_LATER = {
    "ActivityContext": ("native.context", "ActivityContext"),
    "TransactionInterceptor": ("native.interceptor", "TransactionInterceptor"),
    "Worker": ("native.worker", "Worker"),
    "activity": ("native.activity", None),
    "connect": ("native.request_temporal", "connect"),
    "execute_task": ("native.task_execution", "execute_task"),
    "send_to_celery": ("app.send_to_celery", "send_to_celery"),
    "temporal": ("native.request_temporal", "temporal"),
}
"""Names whose modules are imported when a program first uses the name.

Only applications with workflows of their own, or with calls for Celery's workers, pay for these imports.
"""


def __getattr__(name: str) -> Any:
    if name not in LOADED_LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module_name, attribute = LOADED_LATER[name]
    module = import_module(f"{__name__}.{module_name}")
    found = globals()[name] = module if attribute is None else getattr(module, attribute)
    return found


def includeme(config: Any) -> None:
    """Set up a Pyramid application: `config.include("pyramid_temporal_compat")` calls this."""
    from .pyramid import includeme  # imports Pyramid: 0.2 s, and only Pyramid applications call this

    includeme(config)


__all__ = [
    "ActivityContext",
    "AsyncResult",
    "Celery",
    "Signature",
    "Task",
    "TransactionInterceptor",
    "Worker",
    "__version__",
    "activity",
    "bugreport",
    "chain",
    "chord",
    "chunks",
    "connect",
    "current_app",
    "current_frame",
    "current_task",
    "execute_task",
    "group",
    "install_as_celery",
    "maybe_signature",
    "send_to_celery",
    "shared_task",
    "signature",
    "subtask",
    "task",
    "temporal",
    "unsupported",
    "uuid",
    "xmap",
    "xstarmap",
]
