"""What happens around the children of the pool `prefork`, beside running jobs: signals, names, connections."""

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


class ChildProcesses:
    """The hooks that a worker gives its pool of processes."""

    def __init__(self, app: AppLike) -> None:
        self._app = app
        self._number = 0
        self._engines: list[weakref.ReferenceType[Any]] = []

    def about_to_start(self) -> None:
        """In the worker, before the process is forked that forks the children."""
        # Now, since what that process has frozen is not found any more.
        self._engines = [weakref.ref(engine) for engine in sqlalchemy_engines()]

    def before_fork(self) -> None:
        """In the process that forks."""
        self._number += 1
        signals.worker_before_create_process.send(sender=self)

    def on_start(self) -> None:
        """In a new child."""
        multiprocessing.current_process().name = f"ForkPoolWorker-{self._number}"  # log lines show it
        self._app.set_current()
        for reference in self._engines:
            if (engine := reference()) is not None:
                leave_connections(engine)
        signals.worker_process_init.send(sender=None)

    def on_exit(self, pid: int, exitcode: int) -> None:
        """In a child that ends in an orderly way."""
        signals.worker_process_shutdown.send(sender=None, pid=pid, exitcode=exitcode)
        outbox = sys.modules.get("pyramid_temporal_compat.outbox.sweeper")
        if outbox is not None:  # what this child's tasks have sent is not sent again by a relay
            outbox.flush_all()


def sqlalchemy_engines() -> list[Any]:
    """Every engine of this process, whether a registry, a module or a session factory holds it."""
    sqlalchemy = sys.modules.get("sqlalchemy.engine")
    if sqlalchemy is None:
        return []
    # By type(), as isinstance() would ask every lazy proxy of the application what it stands for.
    return [found for found in gc.get_objects() if issubclass(type(found), sqlalchemy.Engine)]


def leave_connections(engine: Any) -> None:
    """Have a forked process connect anew: a connection that two processes use garbles both their talks."""
    from sqlalchemy.pool import SingletonThreadPool, StaticPool  # an optional dependency, loaded if there is an engine

    if isinstance(engine.pool, (SingletonThreadPool, StaticPool)):
        return  # a database in memory, which is this one connection
    try:
        engine.dispose(close=False)  # the parent goes on using them
    except Exception:
        log.exception("the connections of %r that this process inherited could not be left", engine)
