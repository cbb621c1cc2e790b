"""The database connections that a forked process inherits and must not use."""

from __future__ import annotations

import gc
import logging
import sys
from typing import Any

log = logging.getLogger(__name__)


def sqlalchemy_engines() -> list[Any]:
    """Return every SQLAlchemy engine of this process, whether a registry, a module or a session factory holds it."""
    sqlalchemy = sys.modules.get("sqlalchemy.engine")
    if sqlalchemy is None:
        return []
    # By type(), because isinstance() would make every lazy proxy of the application load its object.
    return [found for found in gc.get_objects() if issubclass(type(found), sqlalchemy.Engine)]


def leave_connections(engine: Any) -> None:
    """Make a forked process open its own connections: two processes that share a connection garble it for both."""
    from sqlalchemy.pool import SingletonThreadPool, StaticPool  # an optional dependency, loaded if there is an engine

    if isinstance(engine.pool, (SingletonThreadPool, StaticPool)):
        return  # a database in memory lives in its one connection
    try:
        engine.dispose(close=False)  # the parent goes on using the connections
    except Exception:
        log.exception("this process inherited the connections of %r from its parent and could not drop them", engine)
