"""The pages of a worker: `/live` and `/ready` for probes, `/metrics` for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from .http_server import Address, HttpServer, Page
from .sdk_metrics import SdkMetrics
from .task_metrics import TaskMetrics, prometheus
from .worker_health import Health, WorkerHealth

LIVE, READY, METRICS = "/live", "/ready", "/metrics"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class WorkerMetrics:
    """The metrics of one worker: its tasks, how many run, and the client library's own."""

    def __init__(self, hostname: str, is_known: Callable[[str], bool], running: Callable[[], int]) -> None:
        library = prometheus()
        self._registry = library.CollectorRegistry()
        self.tasks = TaskMetrics(self._registry, hostname, is_known)
        active = library.Gauge(
            "celery_worker_tasks_active", "Tasks that run now.", ["hostname"], registry=self._registry
        )
        active.labels(hostname=hostname).set_function(running)
        library.ProcessCollector(registry=self._registry)
        self._sdk = SdkMetrics()

    def page(self) -> Page:
        own: bytes = prometheus().generate_latest(self._registry)
        return Page(200, own.decode() + self._sdk.text(), METRICS_TYPE)


def serve(
    health: tuple[Address, WorkerHealth] | None, metrics: tuple[Address, WorkerMetrics] | None
) -> list[HttpServer]:
    """Serve the pages that were asked for. Both have one server if they have one address. Return the servers."""
    pages: dict[Address, dict[str, Callable[[], Page]]] = {}
    if health is not None:
        address, of_worker = health
        pages.setdefault(address, {}).update(
            {LIVE: lambda: health_page(of_worker.live()), READY: lambda: health_page(of_worker.ready())}
        )
    if metrics is not None:
        pages.setdefault(metrics[0], {})[METRICS] = metrics[1].page
    return [HttpServer(address, found) for address, found in pages.items()]


def health_page(found: Health) -> Page:
    """Return the answer to a probe: 200 or 503, with a line for each thing that was looked at."""
    head = "ok" if found.is_well else "not ok"
    return Page(200 if found.is_well else 503, "\n".join([head, *found.lines]) + "\n")
