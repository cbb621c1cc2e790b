"""The protocol of a pool: where a task's function runs.

A pool knows nothing of tasks. It takes a job (any picklable value) and calls the worker's handler with it, on a thread
or in a child process. It returns the handler's outcome. A pool never blocks the worker's event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from ...control.limits import Limits

T = TypeVar("T")

Note = Callable[[Any], None]
"""Receives the progress that a running handler reports. Called on the event loop's thread."""


class JobControl(Protocol):
    """What the pool gives a running handler, to report progress and to allow interruption."""

    def note(self, value: Any) -> None:
        """Send a value to the worker. May be called on any thread."""

    def interruptible(self, function: Callable[[], T]) -> T:
        """Call `function`. The pool raises its exceptions inside this call and nowhere else in the handler.

        The pool raises `SoftTimeLimitExceeded` when the soft limit passes, and `StoppedAtLimit` or `Terminated`
        when the job is stopped. It never interrupts the handler before or after this call, for example while the
        handler makes a request or commits. A limit that passes outside the call is raised by the next call, or never.

        The handler may call this again, to run the function once more, but only on the thread that the handler
        itself was called on.
        """
        # A call and not a `with` block: an exception that another thread throws can land on the first
        # instruction of `__exit__`, before any code there can catch it.


Handler = Callable[[Any, JobControl], Any]
"""Runs one job: `handler(job, control)` returns the job's outcome. A handler raises no exception of its own, but lets
an exception through that the pool raised inside `control.interruptible`."""


class Pool(Protocol):
    """Runs jobs in the order in which they arrive, at most `size` at a time."""

    size: int

    def start(self) -> None:
        """Prepare the pool. Called before this process starts a thread or the Temporal runtime."""

    async def ready(self) -> None:
        """Return once a job can run. Called on the event loop that `run` will be called on."""

    async def run(self, job: Any, limits: Limits, note: Note) -> Any:
        """Run one job and return the handler's outcome.

        Raises `TimeLimitExceeded` when the hard limit stopped the job, and `WorkerLostError` when the process
        that ran the job died.

        Cancelling this coroutine stops the job with a signal: the cancellation's message names it, SIGTERM is the
        default. `asyncio.CancelledError` is raised once the job has stopped. If the job ends by itself all the
        same, because it was already committing for example, its outcome is returned.
        """

    def resize(self, size: int) -> None:
        """Run at most `size` jobs from now on. Running jobs continue."""

    def info(self) -> dict[str, Any]:
        """Return what `inspect stats` shows of this pool, under Celery's names."""

    async def stop(self) -> None:
        """End the pool once every job has ended. Waiting jobs still run."""

    def kill(self) -> None:
        """End the pool at once. Running jobs are lost."""


def checked_size(size: int) -> int:
    """Return `size`; raise `ValueError` if a pool can't have it."""
    if size < 1:
        raise ValueError(f"a pool runs at least 1 job at a time, not {size}; give a concurrency of 1 or more")
    return size


class IdleMembers(Generic[T]):
    """Lends a pool's idle members (threads or child processes) to jobs, in the order in which the jobs came.

    Belongs to the event loop's thread.
    """

    def __init__(self) -> None:
        self.idle: deque[T] = deque()
        self._waiting: deque[asyncio.Future[T]] = deque()
        self._jobs = 0
        self.refusal: Exception | None = None
        """The error that every new job gets once the pool ends."""
        self._last_job_ended: asyncio.Future[None] | None = None

    @contextmanager
    def job(self) -> Iterator[None]:
        """Count a job from its arrival to its end. Raises the refusal if the pool has ended."""
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
    def waiting_jobs(self) -> int:
        """Number of jobs that wait for a member."""
        return sum(not turn.done() for turn in self._waiting)

    async def borrow(self) -> T:
        """Return an idle member; wait for one if there is none."""
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
        """Give an idle member to the job that waits longest, or keep it for the next job."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(member)
                return
        self.idle.append(member)

    def refuse(self, error: Exception, *, also_waiting: bool) -> None:
        """Answer every later job with `error`, and with `also_waiting` every waiting job too."""
        self.refusal = self.refusal or error
        while also_waiting and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)

    async def all_jobs_ended(self) -> None:
        """Wait until no job runs or waits."""
        if self._jobs:
            self._last_job_ended = self._last_job_ended or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._last_job_ended)
