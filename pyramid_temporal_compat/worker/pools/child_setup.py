"""What a worker does around its child processes: sends Celery's signals, names them, cuts inherited connections."""

from __future__ import annotations

import multiprocessing
import sys
import weakref
from typing import TYPE_CHECKING, Any

from ... import signals
from ...transactions.inherited_connections import leave_connections, sqlalchemy_engines

if TYPE_CHECKING:
    from ...interfaces import AppLike


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
