"""The metrics of Temporal's client library, and of the outbox, which leaves with them.

The library serves them itself, at a port that only this machine reaches. Our page of metrics adds them to its own.
"""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

from temporalio.runtime import PrometheusConfig

from ..client.forwarded_log import forward_default_runtime

PATIENCE = 2.0
HOST = "127.0.0.1"


class SdkMetrics:
    """Reads the metrics of this process's default runtime."""

    def __init__(self) -> None:
        """Make the default runtime, with metrics, unless the application has made one of its own."""
        self._address = f"{HOST}:{free_port()}"
        config = PrometheusConfig(bind_address=self._address, counters_total_suffix=True, durations_as_seconds=True)
        self._is_ours = forward_default_runtime(config)

    def text(self) -> str:
        """Return the metrics in Prometheus' format. None come from a runtime of the application's own."""
        if not self._is_ours:
            return ""
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"http://{self._address}/metrics", timeout=PATIENCE
            ) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError) as error:
            return f"# the client library gave no metrics: {error}\n"


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return int(taken.getsockname()[1])
