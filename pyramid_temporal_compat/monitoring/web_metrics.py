"""The metrics of a web process: the tasks that it has sent.

A web server has several processes, and one of them has the port. With `PROMETHEUS_MULTIPROC_DIR` the Prometheus library
keeps the counters of all in files, and the process that has the port serves the sum.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from .. import signals
from ..celery_names.nodenames import gethostname
from ..exceptions import ImproperlyConfigured
from ..settings.values import host_and_port
from .http_server import Address, HttpServer, Page
from .task_metrics import LABELS, prometheus
from .worker_pages import METRICS, METRICS_TYPE

log = logging.getLogger(__name__)

SHARED_FILES = "PROMETHEUS_MULTIPROC_DIR"


class WebMetrics:
    """Counts in every process; serves in the first one that gets the port."""

    def __init__(self, listener: str) -> None:
        self._address = Address(*host_and_port(listener))
        self._lock, self._pid = threading.Lock(), 0
        self._server: HttpServer | None = None
        library = prometheus()
        self._registry = library.CollectorRegistry()
        self._sent = library.Counter("celery_task_sent", "Tasks that were sent.", LABELS, registry=self._registry)
        signals.after_task_publish.connect(self._count, weak=False)

    def serve(self) -> None:
        """Serve, once in each process: a forked child has to begin anew."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            try:
                self._server = HttpServer(self._address, {METRICS: self.page})
            except ImproperlyConfigured as error:
                if SHARED_FILES not in os.environ:
                    log.warning("%s. If another web process has it, set %s to an empty folder", error, SHARED_FILES)

    def page(self) -> Page:
        library = prometheus()
        registry = self._registry
        if SHARED_FILES in os.environ:
            from prometheus_client import multiprocess

            registry = library.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        written: bytes = library.generate_latest(registry)
        return Page(200, written.decode(), METRICS_TYPE)

    def _count(self, sender: Any = None, routing_key: str = "", **_: Any) -> None:
        self._sent.labels(name=str(sender), hostname=gethostname(), queue_name=routing_key).inc()
