"""The application's outbox, as people see it."""

from __future__ import annotations

from ..interfaces import AppLike
from ..outbox.sessions import app_engine
from ..outbox.store import Store


def store_of(app: AppLike) -> Store | None:
    """Return the outbox of an application; None if it has none."""
    if app.conf["ptemporal.outbox"] is None:
        return None
    return Store(app_engine(app), app.temporal.settings.namespace)
