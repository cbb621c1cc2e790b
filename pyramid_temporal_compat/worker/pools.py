"""Where a task's function runs: the protocol of a pool.

A pool knows nothing of tasks. It takes a job (any picklable value), hands it to the worker's handler on
a thread or in a child process, and gives back what the handler returned. The worker's event loop is
never blocked by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

Note = Callable[[Any], None]
"""What a running handler calls to tell the worker something (its progress, its process id)."""

Handler = Callable[[Any, Note], Any]
"""Runs one job: `handler(job, note)` returns the job's outcome. It raises nothing of its own, but the
exception that a pool throws into it (a soft time limit) may pass through it."""


@dataclass(frozen=True)
class Limits:
    """Seconds that a job may run, counted from the moment that its handler begins."""

    soft: float | None = None
    """`SoftTimeLimitExceeded` is raised inside the handler."""
    hard: float | None = None
    """The job is stopped, and `run` raises `TimeLimitExceeded`."""


class Pool(Protocol):
    """Runs jobs, at most `size` at a time."""

    size: int

    def start(self) -> None:
        """Make ready. Called before this process starts a thread or the Temporal runtime."""

    async def run(self, job: Any, limits: Limits, note: Note) -> Any:
        """Run one job and return the handler's outcome. `note` is called on the event loop's thread.

        Raises `TimeLimitExceeded` when the hard limit stopped it, and `WorkerLostError` when the process
        that ran it died. Cancelling this coroutine stops the job (with the signal that the cancellation's
        message names, SIGTERM if none) and raises `asyncio.CancelledError` once it has stopped.
        """

    def resize(self, size: int) -> None:
        """Run at most `size` jobs from now on; what runs goes on running."""

    async def stop(self) -> None:
        """End, once every job has ended."""

    def kill(self) -> None:
        """End at once; running jobs are lost."""
