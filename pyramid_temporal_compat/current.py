"""Which app is current: for tasks, results and calls that name none."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .interfaces import AppLike

APP_KEY = "pyramid_temporal_compat.app"
"""Where a Pyramid registry keeps its app."""

apps: weakref.WeakSet[AppLike] = weakref.WeakSet()
"""Every app of this process."""


class _Thread(threading.local):
    app: AppLike | None = None


class _Process:
    app: AppLike | None = None
    make: Callable[..., AppLike] | None = None


_thread = _Thread()
_process = _Process()


def set_current_app(app: AppLike | None) -> None:
    """Make `app` the current one: of this thread, and of those that chose none themselves."""
    _thread.app = app
    _process.app = app


def set_default_app(app: AppLike | None) -> None:
    """Make `app` the current one of the threads that chose none."""
    _process.app = app


def save_current() -> tuple[AppLike | None, AppLike | None]:
    """What this thread and this process have chosen, for `restore_current` to restore."""
    return _thread.app, _process.app


def restore_current(before: tuple[AppLike | None, AppLike | None]) -> None:
    _thread.app, _process.app = before


def latest_app() -> AppLike | None:
    """The app that the application made last, if it made one."""
    return _thread.app or _process.app


def current_app() -> AppLike:
    """The current Pyramid request's app; else the one set in this thread, or last made in this process."""
    # Not imported, or another thread is at it: then no request is current here either.
    ask = getattr(sys.modules.get("pyramid.threadlocal"), "get_current_request", None)
    request = ask() if ask else None
    found: AppLike | None = getattr(request, "registry", {}).get(APP_KEY) if request is not None else None
    return found or latest_app() or _default_app()


def app_or_default(app: AppLike | None = None) -> AppLike:
    return current_app() if app is None else app


def set_app_class(make: Callable[..., AppLike]) -> None:
    """Set the class of the default app. `app/` calls this once, because this module imports no app."""
    _process.make = make


def _default_app() -> AppLike:
    """Make the app of a process whose application made none."""
    if _process.make is None:
        raise RuntimeError("import pyramid_temporal_compat before asking for the current app")
    app = _process.make("default", set_as_current=False)
    set_default_app(app)
    return app
