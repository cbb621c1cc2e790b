"""`config.include("pyramid_temporal_compat")`: the app, its settings, and the request's way to it."""

from __future__ import annotations

from typing import Any

from ..app import APP_KEY, Celery, latest_app
from ..exceptions import ImproperlyConfigured
from ..settings import connection, from_pyramid
from ..settings.config_objects import import_object


def named_app(name: str | None) -> Celery | None:
    """The app that `ptemporal.app` names: for an application that makes several, or none before this."""
    if name is None:
        return None
    found = import_object(name)
    if not isinstance(found, Celery):
        raise ImproperlyConfigured(f"ptemporal.app = {name!r} names {found!r}, which is no Celery() of this package")
    found.set_current()
    return found


def includeme(config: Any) -> None:
    """Bind an app to this application's registry and settings.

    `ptemporal.app` names it; else the application's own `Celery(...)`, if it made one, is adopted; else one is
    made. Nothing connects: the web process starts, and serves, with no Temporal in sight.
    """
    # Loaded now, by every web process and before it forks, so that no first request pays for it (0.6 s).
    from ..enlist import dispatcher, enlistment  # noqa: F401

    values = from_pyramid(config.registry.settings)
    app = named_app(values.get("ptemporal.app")) or latest_app() or Celery(config.root_package.__name__)
    app.conf.add_ini(values)
    # A profile or a certificate that can't be read is found now, and not in the hook of the first commit.
    connection(app.conf)
    app.registry = config.registry
    config.registry[APP_KEY] = app
