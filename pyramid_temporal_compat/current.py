"""The current app. Tasks, results and calls that name no app use it."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from .interfaces import AppLike

APP_KEY = "pyramid_temporal_compat.app"
"""The key of the app in a Pyramid registry."""

apps: weakref.WeakSet[AppLike] = weakref.WeakSet()
"""Every app of this process."""


class _ThreadApp(threading.local):
    """The current app of each thread."""

    app: AppLike | None = None


class _ProcessApp:
    """The current app of the process, and the class for a default app."""

    app: AppLike | None = None
    make: Callable[..., AppLike] | None = None


_thread = _ThreadApp()
_process = _ProcessApp()


def set_current_app(app: AppLike | None) -> None:
    """Make `app` the current app of this thread, and of every thread that has not set its own."""
    _thread.app = app
    _process.app = app


def set_default_app(app: AppLike | None) -> None:
    """Make `app` the current app of every thread that has not set its own."""
    _process.app = app


def save_current() -> tuple[AppLike | None, AppLike | None]:
    """Return the current apps of this thread and of this process, for `restore_current`."""
    return _thread.app, _process.app


def restore_current(before: tuple[AppLike | None, AppLike | None]) -> None:
    """Restore the current apps from the value of `save_current`."""
    _thread.app, _process.app = before


def latest_app() -> AppLike | None:
    """Return the app that the application made current last; None if it made none."""
    return _thread.app or _process.app


def current_app() -> AppLike:
    """Return the app of the current Pyramid request.

    Without a request, return the app that is current in this thread, or in the process. Without any, make one.
    """
    # If Pyramid is not imported, or another thread is importing it, no request is current here.
    stack = getattr(getattr(sys.modules.get("pyramid.threadlocal"), "manager", None), "stack", None)
    request = stack[-1]["request"] if stack else None
    found: AppLike | None = None if request is None else getattr(request, "registry", {}).get(APP_KEY)
    return found or latest_app() or _default_app()


def app_of(registry: Any) -> AppLike:
    """Return the app of a Pyramid application."""
    app: AppLike | None = registry.get(APP_KEY)
    if app is None:
        name = getattr(registry, "package_name", None) or getattr(registry, "__name__", registry)
        raise ImproperlyConfigured(
            f'the registry {name!r} has no app; include this package: config.include("pyramid_temporal_compat")'
        )
    return app


def app_or_default(app: AppLike | None = None) -> AppLike:
    """Return `app`; if it is None, return the current app."""
    return current_app() if app is None else app


def set_app_class(make: Callable[..., AppLike]) -> None:
    """Set the class of the default app. `app/` calls this once, because this module imports no app."""
    _process.make = make


def _default_app() -> AppLike:
    """Make the app of a process whose application made none."""
    if _process.make is None:
        raise RuntimeError("no app class is set; import pyramid_temporal_compat before using the current app")
    app = _process.make("default", set_as_current=False)
    set_default_app(app)
    return app
