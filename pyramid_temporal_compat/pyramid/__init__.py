"""`config.include("pyramid_temporal_compat")`: the app, its settings, and the request's way to it."""

from __future__ import annotations

from typing import Any

from ..app import APP_KEY, Celery, latest_app
from ..settings import connection, from_pyramid


def includeme(config: Any) -> None:
    """Bind an app to this application's registry and settings.

    The application's own `Celery(...)`, if it made one, is adopted; else one is made. Nothing connects: the
    web process starts, and serves, with no Temporal in sight.
    """
    # Loaded now, by every web process and before it forks, so that no first request pays for it (0.6 s).
    from ..dispatch import dispatcher, transaction  # noqa: F401

    app = latest_app() or Celery(config.root_package.__name__)
    app.conf.add_ini(from_pyramid(config.registry.settings))
    # A profile or a certificate that can't be read is found now, and not in the hook of the first commit.
    connection(app.conf)
    app.registry = config.registry
    config.registry[APP_KEY] = app
