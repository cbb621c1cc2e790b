"""The pool `threads`: runs every job on a thread of this process."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import logging
import queue
import reprlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from pyramid_temporal_compat.control.limits import Limits
from pyramid_temporal_compat.exceptions import (
    SoftTimeLimitExceeded,
    StoppedAtLimit,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from pyramid_temporal_compat.worker.pools.pool import Handler, IdleMembers, Note, checked_size

log = logging.getLogger(__name__)

T = TypeVar("T")
Interrupt = type[Exception]

_INTERRUPTS: tuple[Interrupt, ...] = (SoftTimeLimitExceeded, StoppedAtLimit, Terminated)
_NONE = ctypes.py_object()  # a NULL pointer: withdraws an exception that was thrown and has not been raised yet
_throw_into = ctypes.pythonapi.PyThreadState_SetAsyncExc
_throw_into.argtypes = (ctypes.c_ulong, ctypes.py_object)
_throw_into.restype = ctypes.c_int


class ThreadJob:
    """One job, while a thread has it. It is the handler's `JobControl`."""

    def __init__(self, job: Any, note: Note, number: int) -> None:
        self.job = job
        self.number = number
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.interrupted = False
        """Whether the stop was raised in the function, so that the handler has undone the job's effects."""
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._interruptible = False
        self._soft_limit_due = False
        self._stop: Interrupt | None = None
        self._thread_id = 0

    # --- called on the event loop's thread -----------------------------------------------------------

    def throw(self, interrupt: Interrupt) -> None:
        """Raise `interrupt` in the handler's interruptible part: now, or when the handler gets there."""
        with self._lock:
            if self._stop is not None:
                return
            if interrupt is SoftTimeLimitExceeded:
                self._soft_limit_due = not self._interruptible
            else:
                self._stop = interrupt
            if self._interruptible:
                _throw_into(self._thread_id, interrupt)

    def end(self, outcome: Any, error: BaseException | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(outcome)
        elif isinstance(error, Exception) and not isinstance(error, StopIteration):
            self.ended.set_exception(error)
        else:
            # The error would end an event loop (SystemExit), or can't be set on a future (StopIteration).
            self.ended.set_exception(
                WorkerLostError(f"Worker exited prematurely: {error!r} ended its thread. Job: {self.number}.")
            )

    # --- called on the job's thread ------------------------------------------------------------------

    def execute(self, handler: Handler) -> None:
        self._thread_id = threading.get_ident()
        try:
            outcome, error = handler(self.job, self), None
        except BaseException as exc:
            outcome, error = None, exc
        self._tell(self.end, outcome, error)

    def note(self, value: Any) -> None:
        self._tell(self._note_unless_ended, value)

    def interruptible(self, function: Callable[[], T]) -> T:
        error: BaseException | None = None
        try:
            self._begin_interruptible()
            outcome = function()
        except BaseException as exc:
            error = exc
        # Python may raise an exception that another thread has just thrown at any instruction from here until
        # `_end_interruptible` has returned. At most two are thrown, a soft limit and a stop, so the third call is safe.
        try:
            self._end_interruptible()
        except _INTERRUPTS:
            try:
                self._end_interruptible()
            except _INTERRUPTS:
                self._end_interruptible()
        try:
            if self.interrupted and self._stop is not None and not isinstance(error, self._stop):
                # The stop was raised too late, or the function caught it: a stopped job must not commit.
                raise self._stop() from error
            if error is not None:
                raise error
            return outcome
        finally:
            del error  # the error holds this frame through its traceback

    def _begin_interruptible(self) -> None:
        with self._lock:
            if self._stop is not None:
                raise self._stop
            if self._soft_limit_due:
                self._soft_limit_due = False
                raise SoftTimeLimitExceeded
            self._interruptible = True

    def _end_interruptible(self) -> None:
        with self._lock:
            self.interrupted = self._stop is not None
            self._interruptible = False
            _throw_into(self._thread_id, _NONE)

    def _note_unless_ended(self, value: Any) -> None:
        if not self.ended.done():
            self._note(value)

    def _tell(self, callback: Callable[..., Any], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            log.warning("job %d ended after the worker did: %s", self.number, reprlib.repr(self.job))


class JobThread:
    """A thread that runs jobs, one after the other."""

    def __init__(self, handler: Handler, name: str) -> None:
        self._handler = handler
        self._inbox: queue.SimpleQueue[ThreadJob | None] = queue.SimpleQueue()
        self.job: ThreadJob | None = None
        # A daemon thread, because a thread that is blocked in C must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def give(self, job: ThreadJob) -> None:
        self.job = job
        self._inbox.put(job)

    def end(self) -> None:
        """End the thread after the jobs that it has been given."""
        self._inbox.put(None)

    def join(self) -> None:
        self._thread.join()

    def _work(self) -> None:
        while (job := self._inbox.get()) is not None:
            job.execute(self._handler)
            del job  # an idle thread keeps no object of its last job alive


class ThreadPool:
    """Runs each job on a thread of its own, in this process.

    A thread can't be killed. To stop a job, the pool raises an exception in its function. If the function is blocked in
    C for longer than `grace` seconds, `run` raises all the same, and the pool abandons the thread and starts another.
    If the function returns later, the exception is raised then, before the handler can commit.
    """

    def __init__(self, handler: Handler, size: int, *, name: str = "task", grace: float = 2.0) -> None:
        self.size = checked_size(size)
        self._handler = handler
        self._name = name
        self._grace = grace
        self._members: IdleMembers[JobThread] = IdleMembers()
        self._threads: set[JobThread] = set()
        self._names = itertools.count(1)
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Do nothing: threads start with the first jobs."""

    async def ready(self) -> None:
        """Return at once: threads start with the first jobs."""

    async def run(self, job: Any, limits: Limits, note: Note) -> Any:
        with self._members.job():
            started = ThreadJob(job, note, next(self._numbers))
            if not self._members.idle:
                self._add_thread()
            thread = await self._members.borrow()
            try:
                thread.give(started)
                return await self._outcome(started, limits)
            finally:
                self._release(thread, started)

    def resize(self, size: int) -> None:
        self.size = checked_size(size)
        while self._members.idle and len(self._threads) > self.size:
            self._end_thread(self._members.idle.pop())
        for _ in range(self._members.waiting_jobs):
            self._add_thread()

    def info(self) -> dict[str, Any]:
        return {"max-concurrency": self.size, "threads": len(self._threads)}

    async def stop(self) -> None:
        self._members.refuse(RuntimeError("the pool has been stopped and takes no more jobs"), also_waiting=False)
        await self._members.all_jobs_ended()
        for thread in list(self._threads):
            self._end_thread(thread)
            thread.join()

    def kill(self) -> None:
        lost = WorkerLostError("Worker exited prematurely: the pool was ended at once.")
        self._members.refuse(lost, also_waiting=True)
        for thread in list(self._threads):
            self._end_thread(thread)
            if thread.job is not None:
                thread.job.throw(Terminated)
                thread.job.end(None, lost)

    async def _outcome(self, job: ThreadJob, limits: Limits) -> Any:
        """Return the outcome of a job that its thread has; stop it at the hard limit or if the caller is cancelled."""
        soft: asyncio.TimerHandle | None = None
        if limits.soft:
            soft = asyncio.get_running_loop().call_later(limits.soft, job.throw, SoftTimeLimitExceeded)
        try:
            if await _ends(job, limits.hard or None):
                return job.ended.result()
            job.throw(StoppedAtLimit)
            if await _ends(job, self._grace) and not job.interrupted:
                return job.ended.result()
            raise TimeLimitExceeded(limits.hard)
        except asyncio.CancelledError:
            job.throw(Terminated)
            if await _ends(job, self._grace) and not job.interrupted:
                return job.ended.result()
            raise
        finally:
            if soft is not None:
                soft.cancel()

    def _release(self, thread: JobThread, job: ThreadJob) -> None:
        """Give the thread to the next job, end it, or replace it if its job can't be stopped."""
        thread.job = None
        if thread not in self._threads:
            return
        if not job.ended.done():
            log.error(
                "job %d is blocked and can't be stopped; the pool abandons its thread and starts another: %s",
                job.number,
                reprlib.repr(job.job),
            )
            job.ended.cancel()
            self._end_thread(thread)
            self._add_thread()
            return
        if not job.ended.cancelled():
            job.ended.exception()  # read, so that the loop does not report it as never retrieved
        if len(self._threads) > self.size:
            self._end_thread(thread)
        else:
            self._members.offer(thread)

    def _add_thread(self) -> None:
        """Start one more thread, if the pool may have more."""
        if len(self._threads) < self.size:
            thread = JobThread(self._handler, f"{self._name}-{next(self._names)}")
            self._threads.add(thread)
            self._members.offer(thread)

    def _end_thread(self, thread: JobThread) -> None:
        self._threads.discard(thread)
        thread.end()


async def _ends(job: ThreadJob, within: float | None) -> bool:
    """Return whether the job ends within this time. Unlike `wait_for`, cancelling the waiter leaves the job alone."""
    await asyncio.wait([job.ended], timeout=within)
    return job.ended.done()
