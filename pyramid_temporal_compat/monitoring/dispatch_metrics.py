"""How long dispatches took and what did not reach the server, as metrics: of a web process, and of a worker's tasks."""

from __future__ import annotations

from typing import Any

from ..enlist.dispatch_end import DispatchEnd

DISPATCH_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
OUTBOX, LOG = "outbox", "log"
"""Where tasks are that did not reach the server."""


class DispatchMetrics:
    """Counts how dispatches end."""

    def __init__(self, library: Any, registry: Any) -> None:
        self._seconds = library.Histogram(
            "ptemporal_dispatch_seconds",
            "Seconds until the server had the calls of a transaction.",
            buckets=DISPATCH_SECONDS,
            registry=registry,
        )
        self._failed = library.Counter(
            "ptemporal_dispatch_failed",
            "Calls that did not reach the server, by what keeps them. A canvas or a bundle counts once.",
            ["kept"],
            registry=registry,
        )
        for kept in (OUTBOX, LOG):
            self._failed.labels(kept=kept)

    def count(self, end: DispatchEnd) -> None:
        """Count one dispatch."""
        self._seconds.observe(end.seconds)
        self._failed.labels(kept=OUTBOX).inc(end.kept)
        self._failed.labels(kept=LOG).inc(end.lost)
