"""Imports the modules that hold an application's tasks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import signals
from ..exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from ..interfaces import AppLike


def load_tasks(app: AppLike, more: Iterable[str] = ()) -> None:
    """Import the modules that `ptemporal.include` and Celery's `include` and `imports` name, and discovered modules.

    `more` are the modules that the worker's `-I` names.
    """
    for _receiver, answer in signals.import_modules.send(sender=app):
        if isinstance(answer, Exception):
            raise answer
    app.loader.worker_initialized = True
    for module in app.loader.default_modules:
        _import(app, module, "ptemporal.include")
    for module in more:
        _import(app, module, "-I")
    app.loader.on_worker_init()


def _import(app: AppLike, module: str, named_by: str) -> None:
    try:
        app.loader.import_task_module(module)
    except ImportError as error:
        missing = getattr(error, "name", None)
        if missing and (module == missing or module.startswith(f"{missing}.")):
            raise ImproperlyConfigured(
                f"{named_by} names {module!r}, and there is no such module (looked in {os.getcwd()} and sys.path)"
            ) from None
        raise ImproperlyConfigured(f"{named_by}: {module} can't be imported: {error}") from error
