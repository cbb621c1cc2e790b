"""The probes and the metrics of a worker program, as its options and settings ask for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from ..monitoring.worker_health import WorkerHealth
from ..settings.values import host_and_port

if TYPE_CHECKING:
    from ..monitoring.http_server import Address, HttpServer
    from .worker import Worker

log = logging.getLogger(__name__)


class Pages:
    """Belongs to one worker. Without a port it does nothing, and imports nothing."""

    def __init__(self, worker: Worker, health_port: str | None, metrics_port: str | None) -> None:
        conf = worker.app.conf
        self._worker = worker
        self._health = address_of(health_port or conf["ptemporal.health_port"])
        self._metrics = address_of(metrics_port or conf["ptemporal.metrics_port"])
        self._of_worker = WorkerHealth(worker.seen, conf["ptemporal.memory_limit"], own_pid=os.getpid())
        self._servers: list[HttpServer] = []
        if self._metrics is not None:
            from ..monitoring.task_metrics import prometheus

            prometheus()  # raises now if the library is missing, and not after the pool has started

    def open(self) -> None:
        """Begin to answer. The pool has started: a forked child must inherit no thread."""
        if self._health is None and self._metrics is None:
            return
        from ..monitoring.worker_pages import WorkerMetrics, serve  # the client library's metrics

        metrics = None
        if self._metrics is not None:
            app = self._worker.app
            counts = WorkerMetrics(
                self._worker.hostname, lambda name: name in app.tasks, lambda: self._worker.running_count
            )
            self._worker.tasks.parts.watch = counts.tasks
            metrics = self._metrics, counts
        self._servers = serve(None if self._health is None else (self._health, self._of_worker), metrics)
        for server in self._servers:
            log.info("%s served at port %d", " and ".join(server.paths), server.address.port)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Write down for the probes how the worker is, until the end of the block."""
        if self._health is None:
            yield
            return
        looking = asyncio.ensure_future(self._of_worker.forever())
        try:
            yield
        finally:
            looking.cancel()

    def close(self) -> None:
        for server in self._servers:
            server.close()


def address_of(listener: str | None) -> Address | None:
    """Return where a setting says to listen; None if it says nothing."""
    if listener is None:
        return None
    from ..monitoring.http_server import Address  # imports http.server, which a worker without a port does not need

    return Address(*host_and_port(listener))
