"""Choose the app of a Pyramid application. The first that exists of these:

- the app that the application gave to `config.set_celery_app(app)`
- the app that `ptemporal.app` names
- the app under the key or attribute of the registry that `ptemporal.app_key` names
- the only app in the registry
- the latest `Celery(...)` that the application has made
- a new app
"""

from __future__ import annotations

from typing import Any

from ..app import APP_KEY, Celery, latest_app
from ..exceptions import ImproperlyConfigured
from ..settings.config_objects import import_object

GIVEN = "pyramid_temporal_compat.given_app"
"""Where a registry keeps the app that `config.set_celery_app` was given."""


def set_celery_app(config: Any, app: Celery) -> None:
    """Use `app` for this Pyramid application: the directive `config.set_celery_app(app)`."""
    if not isinstance(app, Celery):
        raise ImproperlyConfigured(f"config.set_celery_app({app!r}): that is no Celery() of this package")
    config.registry[GIVEN] = app


def existing_app(registry: Any, settings: dict[str, Any]) -> Celery | None:
    """Return the app that the application has made, as far as it has made one by now."""
    return registry.get(GIVEN) or named_app(settings) or app_under_key(registry, settings) or sole_app(registry)


def named_app(settings: dict[str, Any]) -> Celery | None:
    """Return the app that `ptemporal.app` names, and make it the current app; None if the setting is absent.

    An application needs the setting if it makes several apps, or makes its app only when imported by this name.
    """
    name = settings.get("ptemporal.app")
    if name is None:
        return None
    found = import_object(name)
    if not isinstance(found, Celery):
        raise ImproperlyConfigured(f"ptemporal.app = {name!r} names {found!r}, which is no Celery() of this package")
    found.set_current()
    return found


def app_under_key(registry: Any, settings: dict[str, Any]) -> Celery | None:
    """Return the app under the key or attribute that `ptemporal.app_key` names; None if it is not there yet."""
    key = settings.get("ptemporal.app_key")
    if key is None:
        return None
    found = registry[key] if key in registry else getattr(registry, key, None)
    if found is not None and not isinstance(found, Celery):
        raise ImproperlyConfigured(
            f"ptemporal.app_key = {key!r}: the registry has {found!r} there, which is no Celery() of this package"
        )
    return found


def sole_app(registry: Any) -> Celery | None:
    """Return the app that the registry holds under any key or attribute; None if it holds none.

    Where the application keeps it differs: `registry["celery.app"]`, `registry["pyramid_tasks.app"]`,
    `registry.celery_app` and `registry.celery` are in use.
    """
    kept = {**vars(registry), **registry}
    found = {key: app for key, app in kept.items() if isinstance(app, Celery) and key != APP_KEY}
    if len(set(found.values())) > 1:
        raise ImproperlyConfigured(
            f"the registry holds several apps, under {', '.join(map(repr, found))}; name one by ptemporal.app_key"
        )
    return next(iter(found.values()), None)


def latest_or_new_app(name: str) -> Celery:
    """Return the app that this process made last; a new app if it made none."""
    latest: Any = latest_app()
    return latest or Celery(name)
