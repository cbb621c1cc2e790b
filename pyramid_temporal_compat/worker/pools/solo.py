"""The pool `solo`: one job at a time, in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from pyramid_temporal_compat.worker.pools.pool import Handler
from pyramid_temporal_compat.worker.pools.threads import ThreadPool


class SoloPool(ThreadPool):
    """Runs one job after the other in this process, on a thread beside the event loop.

    The event loop's own thread is no place for a job: while the loop stands still, it sends no heartbeats. The server
    would give the task to another worker.
    """

    def __init__(self, handler: Handler, *, grace: float = 2.0, on_start: Callable[[], None] | None = None) -> None:
        super().__init__(handler, 1, name="solo", grace=grace)
        self._on_start = on_start

    def start(self) -> None:
        if self._on_start is not None:
            self._on_start()

    def resize(self, size: int) -> None:
        if size != 1:
            raise ValueError(
                f"the solo pool runs 1 job at a time, not {size}; start the worker with -P prefork or -P threads"
            )

    def info(self) -> dict[str, Any]:
        return {"max-concurrency": 1, "processes": [os.getpid()]}
