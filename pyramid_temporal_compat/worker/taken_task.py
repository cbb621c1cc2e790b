"""What the steps of an attempt share: the worker's own parts, and the task that it has taken."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..control.limits import Limits
from ..control.orders import Orders
from ..log_lines.throttled_log import LoggedNames
from ..monitoring.watch import NobodyWatches, TaskWatch
from .job import Began, Job
from .pools.pool import Pool

if TYPE_CHECKING:
    from ..interfaces import AppLike

NO_LIMITS = Limits()


@dataclass(eq=False)
class WorkerParts:
    """The parts of a worker that steps use. Belongs to the worker's event loop."""

    app: AppLike
    pool: Pool
    hostname: str
    orders: Orders
    """What control calls ask for: revoked tasks, rate limits, time limits."""
    limits: Limits = NO_LIMITS
    """The worker's own time limits, for tasks that have none."""
    consumer: Any = None
    """The sender that signals about messages name."""
    stop_now: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the worker is to end at once: running tasks are stopped, and run again on another worker."""
    watch: TaskWatch = field(default_factory=NobodyWatches)
    """Counts what becomes of tasks, for metrics."""
    unknown_tasks: LoggedNames = field(default_factory=LoggedNames)
    """The unknown tasks that the log has named."""

    def why_unknown(self, task: str) -> str:
        """Return what to tell about a task that this worker does not know."""
        return (
            f"task {task!r} is not registered in this worker; it knows {len(self.app.tasks.own())} tasks "
            "(ptemporal-compat list tasks app.ini); add the module to ptemporal.include, or, if the task is "
            "another application's, give each application a queue of its own (celery.task_default_queue)"
        )

    def is_lost_too_often(self, lost: int) -> bool:
        """Return whether a task that has lost `lost` workers is not run again."""
        most = self.app.conf.ptemporal_lost_worker_attempts
        return bool(most and lost >= most)


@dataclass(eq=False)
class TakenTask:
    """A task that this worker has taken from the server and not yet ended."""

    job: Job
    began: Began | None = None
    """Set once the pool has begun the task."""
    in_line: bool = False
    """Whether it waits for the members of its slice that are before it."""
    terminated: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Set to the name of a signal when a control call terminates the task."""

    @property
    def seconds(self) -> float:
        """Return how long ago the function was called; 0 if it was not."""
        return 0.0 if self.began is None else max(0.0, time.time() - self.began.at)

    def terminate(self, signal: str) -> None:
        if not self.terminated.done():
            self.terminated.set_result(signal)
