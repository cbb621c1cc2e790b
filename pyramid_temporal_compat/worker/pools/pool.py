"""Where a task's function runs: the protocol of a pool.

A pool knows nothing of tasks. It takes a job (any picklable value), hands it to the worker's handler on
a thread or in a child process, and gives back what the handler returned. The worker's event loop is
never blocked by it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from ...message.time_limits import Limits

T = TypeVar("T")

Note = Callable[[Any], None]
"""Receives what a running handler tells the worker (its progress); called on the event loop's thread."""


class Control(Protocol):
    """What a running handler holds of its job."""

    def note(self, value: Any) -> None:
        """Tell the worker something, from any thread."""

    def interruptible(self, function: Callable[[], T]) -> T:
        """Call `function`; the pool's exceptions are raised in there and nowhere else in the handler.

        `SoftTimeLimitExceeded` when the soft limit passes, `TimeLimitExceeded` and `Terminated` when the job
        is stopped. What comes before and after (a request being made, a commit) is never interrupted: a
        limit that passes meanwhile is raised at the next call, or not at all. May be called again, to
        try the function anew. To be called on the thread that the handler was called on.
        """
        # A call and not a `with` block: an exception that another thread throws can land on the first
        # instruction of `__exit__`, before anything in there could disarm or catch it.


Handler = Callable[[Any, Control], Any]
"""Runs one job: `handler(job, control)` returns the job's outcome. It raises nothing of its own, but what
a pool raised inside `control.interruptible` may pass through it."""


class Pool(Protocol):
    """Runs jobs, at most `size` at a time, first come first served."""

    size: int

    def start(self) -> None:
        """Make ready. Called before this process starts a thread or the Temporal runtime."""

    async def ready(self) -> None:
        """Return once a job can run. Called on the event loop that `run` will be called on."""

    async def run(self, job: Any, limits: Limits, note: Note) -> Any:
        """Run one job and return the handler's outcome.

        Raises `TimeLimitExceeded` when the hard limit stopped it, and `WorkerLostError` when the process
        that ran it died. Cancelling this coroutine stops the job (with the signal that the cancellation's
        message names, SIGTERM if none) and raises `asyncio.CancelledError` once it has stopped. A job that
        came to its end all the same (it was committing, say) has its outcome returned.
        """

    def resize(self, size: int) -> None:
        """Run at most `size` jobs from now on; what runs goes on running."""

    def info(self) -> dict[str, Any]:
        """What `inspect stats` shows of this pool, under Celery's names."""

    async def stop(self) -> None:
        """End, once every job has ended; those that wait for their turn still run."""

    def kill(self) -> None:
        """End at once; running jobs are lost."""


def checked_size(size: int) -> int:
    if size < 1:
        raise ValueError(f"a pool runs at least 1 job at a time, not {size}; give a concurrency of 1 or more")
    return size


class Crew(Generic[T]):
    """The members of a pool that are free, lent to jobs in the order in which these came.

    Belongs to the event loop's thread.
    """

    def __init__(self) -> None:
        self.idle: deque[T] = deque()
        self._waiting: deque[asyncio.Future[T]] = deque()
        self._jobs = 0
        self.refusal: Exception | None = None
        """What jobs are answered once the pool ends."""
        self._last_job_ended: asyncio.Future[None] | None = None

    @contextmanager
    def job(self) -> Iterator[None]:
        """Count a job from its arrival to its end."""
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)
        self._jobs += 1
        try:
            yield
        finally:
            self._jobs -= 1
            if not self._jobs and self._last_job_ended is not None and not self._last_job_ended.done():
                self._last_job_ended.set_result(None)

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return sum(not turn.done() for turn in self._waiting)

    async def borrow(self) -> T:
        if self.idle:
            return self.idle.popleft()
        turn: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.offer(turn.result())
            raise

    def offer(self, member: T) -> None:
        """Lend a free member to the next job."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(member)
                return
        self.idle.append(member)

    def refuse(self, error: Exception, *, also_waiting: bool) -> None:
        """Answer every later job with `error`, and those that wait for their turn too if asked."""
        self.refusal = self.refusal or error
        while also_waiting and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)

    async def all_jobs_ended(self) -> None:
        if self._jobs:
            self._last_job_ended = self._last_job_ended or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._last_job_ended)
