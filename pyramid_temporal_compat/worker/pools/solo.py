"""The pool `solo`: one job at a time, in this process."""

from __future__ import annotations

import os
from typing import Any

from pyramid_temporal_compat.worker.pools.pool import Handler
from pyramid_temporal_compat.worker.pools.threads import ThreadPool


class SoloPool(ThreadPool):
    """Runs one job after the other in this process.

    On a thread beside the event loop: a worker whose loop stood still while a task runs would send no
    heartbeats, and the server would give the task to another worker.
    """

    def __init__(self, handler: Handler, *, grace: float = 2.0) -> None:
        super().__init__(handler, 1, name="solo", grace=grace)

    def resize(self, size: int) -> None:
        if size != 1:
            raise ValueError(
                f"the solo pool runs 1 job at a time, not {size}; start the worker with -P prefork or threads"
            )

    def info(self) -> dict[str, Any]:
        return {"max-concurrency": 1, "processes": [os.getpid()]}
