"""Finds the app whose tasks a worker runs, and imports its tasks."""

from __future__ import annotations

from typing import Any

from pyramid.config import global_registries

from .. import signals
from ..app import APP_KEY, Celery
from ..exceptions import ImproperlyConfigured


def app_of(wsgi_app: Any) -> Celery:
    """Return the app of a bootstrapped Pyramid application."""
    registry = getattr(wsgi_app, "registry", None) or global_registries.last
    app = registry.get(APP_KEY) if registry is not None else None
    if not isinstance(app, Celery):
        raise ImproperlyConfigured(
            "the application does not include pyramid_temporal_compat; add it to pyramid.includes in the ini, "
            'or call config.include("pyramid_temporal_compat")'
        )
    return app


def load_tasks(app: Celery) -> None:
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
