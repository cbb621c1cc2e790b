"""Celery's task API on Temporal, for Pyramid applications."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from .app import Celery, current_app, shared_task
from .context import current_frame
from .result import AsyncResult
from .task import Task

__version__ = version("pyramid-temporal-compat")

task = shared_task


def includeme(config: Any) -> None:
    """For `config.include("pyramid_temporal_compat")`."""
    from .pyramid import includeme  # Pyramid: 0.2 s, and only an application that is one calls this

    includeme(config)


__all__ = ["AsyncResult", "Celery", "Task", "__version__", "current_app", "current_frame", "shared_task", "task"]
