"""Connect a Pyramid application with its app: `config.include("pyramid_temporal_compat")`."""

from __future__ import annotations

from typing import Any

from ..app import APP_KEY, Celery, latest_app
from ..exceptions import ImproperlyConfigured
from ..settings import connection, from_pyramid
from ..settings.config_objects import import_object


def named_app(name: str | None) -> Celery | None:
    """Return the app that `ptemporal.app` names, and make it the current app; None if the setting is absent.

    An application needs the setting if it makes several apps, or makes its app only when imported by this name.
    """
    if name is None:
        return None
    found = import_object(name)
    if not isinstance(found, Celery):
        raise ImproperlyConfigured(f"ptemporal.app = {name!r} names {found!r}, which is no Celery() of this package")
    found.set_current()
    return found


def includeme(config: Any) -> None:
    """Bind an app to this application's registry and settings.

    The app is the first that exists of these: the app that `ptemporal.app` names, the latest `Celery(...)` that the
    application has made, or a new app. Nothing connects here: the web process starts and serves even while no Temporal
    server can be reached.
    """
    # Every web process imports this now, before it forks. Else its first request would pay for it (0.6 s).
    from ..enlist import dispatcher, enlistment  # noqa: F401

    values = from_pyramid(config.registry.settings)
    app = named_app(values.get("ptemporal.app")) or latest_app() or Celery(config.root_package.__name__)
    app.conf.add_ini(values)
    # Fail now if a profile or a certificate can't be read, and not in the after-commit hook of the first transaction.
    connection(app.conf)
    app.registry = config.registry
    config.registry[APP_KEY] = app
