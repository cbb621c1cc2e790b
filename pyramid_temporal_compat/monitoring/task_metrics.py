"""What a worker tells of its tasks, as Prometheus counters. Names and labels are those of celery-exporter.

So dashboards and alerts that were made for celery-exporter go on working.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..enlist.dispatch_end import DispatchEnd
from ..exceptions import ImproperlyConfigured
from ..message.message import Message
from .dispatch_metrics import DispatchMetrics

LABELS = ("name", "hostname", "queue_name")
UNKNOWN = "unknown"
"""The name of every task that this worker does not know: names from outside could be without number."""
RUNTIMES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""Seconds. Those up to 10 are the buckets of celery-exporter."""
MOST_EXCEPTIONS = 200
"""How many classes of exceptions have a counter of their own. The others count as `other`."""


def prometheus() -> Any:
    """Return the library that keeps the counters. Raises if it is not installed."""
    try:
        import prometheus_client
    except ImportError:
        raise ImproperlyConfigured(
            "metrics need the package prometheus-client: pip install 'pyramid-temporal-compat[metrics]'"
        ) from None
    return prometheus_client


class TaskMetrics:
    """Counts what becomes of a worker's tasks; a `TaskWatch`."""

    def __init__(self, registry: Any, hostname: str, is_known: Callable[[str], bool]) -> None:
        self._hostname, self._is_known = hostname, is_known
        self._exceptions: set[str] = set()
        counter, histogram = prometheus().Counter, prometheus().Histogram

        def count(what: str, text: str, *more: str, prefix: str = "celery_task") -> Any:
            return counter(f"{prefix}_{what}", text, [*LABELS, *more], registry=registry)

        self._received = count("received", "Attempts that the worker has taken.")
        self._started = count("started", "Attempts whose function was called.")
        self._succeeded = count("succeeded", "Tasks that ended with a result.")
        self._failed = count("failed", "Tasks that ended with an error.", "exception")
        self._rejected = count("rejected", "Tasks that raised Reject.")
        self._revoked = count("revoked", "Tasks that were revoked or had expired.")
        self._retried = count("retried", "Attempts that asked for another attempt.")
        self._left = count("left", "Tasks that committed a receipt.", prefix="ptemporal_receipts")
        self._found = count(
            "found", "Tasks that were done already, as the receipt of an earlier run said.", prefix="ptemporal_receipts"
        )
        self._runtime = histogram(
            "celery_task_runtime", "Seconds that a task ran.", LABELS, buckets=RUNTIMES, registry=registry
        )
        self._waited = histogram(
            "celery_task_queue_wait_time",
            "Seconds that an attempt waited in its queue.",
            LABELS,
            buckets=RUNTIMES,
            registry=registry,
        )
        self._dispatches = DispatchMetrics(prometheus(), registry)

    def received(self, message: Message, waited: float) -> None:
        labels = self._labels(message)
        self._begin_at_zero(labels)
        self._received.labels(**labels).inc()
        self._waited.labels(**labels).observe(waited)

    def started(self, message: Message) -> None:
        self._started.labels(**self._labels(message)).inc()

    def succeeded(self, message: Message, seconds: float) -> None:
        labels = self._labels(message)
        self._succeeded.labels(**labels).inc()
        self._runtime.labels(**labels).observe(seconds)

    def failed(self, message: Message, exception: str) -> None:
        self._failed.labels(**self._labels(message), exception=self._exception(exception)).inc()

    def retried(self, message: Message) -> None:
        self._retried.labels(**self._labels(message)).inc()

    def rejected(self, message: Message) -> None:
        self._rejected.labels(**self._labels(message)).inc()

    def revoked(self, message: Message) -> None:
        self._revoked.labels(**self._labels(message)).inc()

    def left_receipt(self, message: Message) -> None:
        self._left.labels(**self._labels(message)).inc()

    def found_receipt(self, message: Message) -> None:
        self._found.labels(**self._labels(message)).inc()

    def dispatched(self, end: DispatchEnd) -> None:
        self._dispatches.count(end)

    def _begin_at_zero(self, labels: dict[str, str]) -> None:
        """Show all counters of a task from its first attempt on: `increase()` does not count a first value above 0."""
        for counter in (self._started, self._succeeded, self._rejected, self._revoked, self._retried):
            counter.labels(**labels)
        self._failed.labels(**labels, exception="")

    def _labels(self, message: Message) -> dict[str, str]:
        name = message.task if self._is_known(message.task) else UNKNOWN
        return {"name": name, "hostname": self._hostname, "queue_name": message.queue}

    def _exception(self, name: str) -> str:
        name = name.rpartition(".")[2]
        if name not in self._exceptions and len(self._exceptions) >= MOST_EXCEPTIONS:
            return "other"
        self._exceptions.add(name)
        return name
