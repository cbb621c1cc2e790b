"""Which app is current: for tasks, results and calls that name none."""

from __future__ import annotations

import sys
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .app.base import Celery

APP_KEY = "pyramid_temporal_compat.app"
"""Where a Pyramid registry keeps its app."""

apps: weakref.WeakSet[Celery] = weakref.WeakSet()
"""Every app of this process."""


class _Thread(threading.local):
    app: Celery | None = None


class _Process:
    app: Celery | None = None


_thread = _Thread()
_process = _Process()


def set_current_app(app: Celery | None) -> None:
    """Make `app` the current one: of this thread, and of those that chose none themselves."""
    _thread.app = app
    _process.app = app


def set_default_app(app: Celery | None) -> None:
    """Make `app` the current one of the threads that chose none."""
    _process.app = app


def chosen() -> tuple[Celery | None, Celery | None]:
    """What this thread and this process have chosen, for `choose` to restore."""
    return _thread.app, _process.app


def choose(before: tuple[Celery | None, Celery | None]) -> None:
    _thread.app, _process.app = before


def latest_app() -> Celery | None:
    """The app that the application made last, if it made one."""
    return _thread.app or _process.app


def current_app() -> Celery:
    """The current Pyramid request's app; else the one set in this thread, or last made in this process."""
    # Not imported, or another thread is at it: then no request is current here either.
    ask = getattr(sys.modules.get("pyramid.threadlocal"), "get_current_request", None)
    request = ask() if ask else None
    found: Celery | None = getattr(request, "registry", {}).get(APP_KEY) if request is not None else None
    return found or latest_app() or _default_app()


def app_or_default(app: Celery | None = None) -> Celery:
    return current_app() if app is None else app


def _default_app() -> Celery:
    from .app.base import Celery  # it imports this module: an app makes itself current

    app = Celery("default", set_as_current=False)
    set_default_app(app)
    return app
