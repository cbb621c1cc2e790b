"""The metrics of a web process: the tasks that it has sent, and how long sending took.

A web server has several processes, and one of them has the port. With `PROMETHEUS_MULTIPROC_DIR` the Prometheus library
keeps the counters of all in files, and the process that has the port serves the sum.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from .. import signals
from ..celery_names.nodenames import gethostname
from ..enlist.dispatch_end import DispatchEnd, dispatch_ended
from ..exceptions import ImproperlyConfigured
from ..settings.values import host_and_port
from .dispatch_metrics import DispatchMetrics
from .http_server import Address, HttpServer, Page
from .task_metrics import LABELS, prometheus
from .worker_pages import METRICS, METRICS_TYPE

log = logging.getLogger(__name__)

SHARED_FILES = "PROMETHEUS_MULTIPROC_DIR"
TRY_AGAIN_AFTER = 10.0
"""Seconds. The process that has the port may end, and another one takes the port over at one of its requests."""


class WebMetrics:
    """Counts in every process; serves in the first one that gets the port."""

    def __init__(self, listener: str) -> None:
        self._address = Address(*host_and_port(listener))
        self._lock, self._pid, self._next_try = threading.Lock(), 0, 0.0
        self._server: HttpServer | None = None
        library = prometheus()
        self._registry = library.CollectorRegistry()
        self._sent = library.Counter("celery_task_sent", "Tasks that were sent.", LABELS, registry=self._registry)
        self._dispatches = DispatchMetrics(library, self._registry)
        signals.after_task_publish.connect(self._count, weak=False)
        dispatch_ended.connect(self._count_dispatch, weak=False)

    def serve(self) -> None:
        """Serve, once in each process: a forked child has to begin anew. Called at each request."""
        if self._pid == os.getpid() and (self._server is not None or time.monotonic() < self._next_try):
            return
        with self._lock:
            is_first_try = self._pid != os.getpid()
            if is_first_try:
                self._pid, self._server = os.getpid(), None
            if self._server is None:
                self._next_try = time.monotonic() + TRY_AGAIN_AFTER
                self._try_to_serve(is_first_try)

    def _try_to_serve(self, is_first_try: bool) -> None:
        try:
            self._server = HttpServer(self._address, {METRICS: self.page})
        except ImproperlyConfigured as error:
            if is_first_try and SHARED_FILES not in os.environ:
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

    def _count_dispatch(self, end: DispatchEnd, **_: Any) -> None:
        self._dispatches.count(end)
