"""What a worker does around its child processes: sends Celery's signals, names them, cuts inherited connections."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import sys
import weakref
from typing import TYPE_CHECKING, Any

from ... import signals

if TYPE_CHECKING:
    from ...interfaces import AppLike

log = logging.getLogger(__name__)


class ProcessHooks:
    """The functions that a worker gives its pool, to be called as processes start and end."""

    def __init__(self, app: AppLike) -> None:
        self._app = app
        self._number = 0
        self._engines: list[weakref.ReferenceType[Any]] = []

    def before_pool_starts(self) -> None:
        """Remember the SQLAlchemy engines. Called in the worker, before it forks the zygote."""
        # Now, because the zygote freezes its objects, and `gc` does not find frozen objects any more.
        self._engines = [weakref.ref(engine) for engine in sqlalchemy_engines()]

    def before_fork(self) -> None:
        """Send `worker_before_create_process`. Called in the zygote, before it forks a child."""
        self._number += 1
        signals.worker_before_create_process.send(sender=self)

    def on_child_start(self) -> None:
        """Make a new child ready for tasks, and send `worker_process_init`. Called in the child."""
        multiprocessing.current_process().name = f"ForkPoolWorker-{self._number}"  # log lines show it
        self._app.set_current()
        for reference in self._engines:
            if (engine := reference()) is not None:
                leave_connections(engine)
        signals.worker_process_init.send(sender=None)

    def on_child_exit(self, pid: int, exitcode: int) -> None:
        """Send `worker_process_shutdown`, and empty the outbox's sweeper. Called in a child that ends in order."""
        signals.worker_process_shutdown.send(sender=None, pid=pid, exitcode=exitcode)
        sweeper = sys.modules.get("pyramid_temporal_compat.outbox.sweeper")
        if sweeper is not None:  # so that no relay sends again what this child's tasks have sent
            sweeper.flush_all()

    def on_solo_start(self) -> None:
        """Send `worker_process_init`. Called in the worker: in the pool `solo` the worker is the pool's process."""
        signals.worker_process_init.send(sender=None)


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
