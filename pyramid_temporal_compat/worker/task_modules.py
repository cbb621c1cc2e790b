"""Imports the modules that hold an application's tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import signals
from ..exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from ..interfaces import AppLike


def load_tasks(app: AppLike) -> None:
    """Import the modules that `ptemporal.include` and Celery's `include` and `imports` name, and discovered modules."""
    for _receiver, answer in signals.import_modules.send(sender=app):
        if isinstance(answer, Exception):
            raise answer
    app.loader.worker_initialized = True
    for module in app.loader.default_modules:
        try:
            app.loader.import_task_module(module)
        except ImportError as error:
            missing = getattr(error, "name", None)
            if missing and (module == missing or module.startswith(f"{missing}.")):
                raise ImproperlyConfigured(f"ptemporal.include names {module!r}, and there is no such module") from None
            raise ImproperlyConfigured(f"ptemporal.include: {module} can't be imported: {error}") from error
    app.loader.on_worker_init()
