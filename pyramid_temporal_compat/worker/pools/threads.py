"""The pool `threads`: every job on a thread of this process."""

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

from pyramid_temporal_compat.exceptions import (
    SoftTimeLimitExceeded,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from pyramid_temporal_compat.worker.pools.pool import Handler, IdleMembers, Limits, Note, checked_size

log = logging.getLogger(__name__)

T = TypeVar("T")
Interrupt = type[Exception]

_INTERRUPTS: tuple[Interrupt, ...] = (SoftTimeLimitExceeded, TimeLimitExceeded, Terminated)
_NONE = ctypes.py_object()  # a NULL pointer: takes back what was thrown and has not landed yet
_throw_into = ctypes.pythonapi.PyThreadState_SetAsyncExc
_throw_into.argtypes = (ctypes.c_ulong, ctypes.py_object)
_throw_into.restype = ctypes.c_int


class _Run:
    """One job on its thread; the handler's `JobControl`."""

    def __init__(self, job: Any, note: Note, number: int) -> None:
        self.job = job
        self.number = number
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.interrupted = False
        """The stop reached the function, so the handler has given up the job's effects."""
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._armed = False
        self._soft_due = False
        self._stop: Interrupt | None = None
        self._thread_id = 0

    # --- on the event loop's thread ---

    def throw(self, interrupt: Interrupt) -> None:
        """Raise `interrupt` in the handler's interruptible part: now, or when it gets there."""
        with self._lock:
            if self._stop is not None:
                return
            if interrupt is SoftTimeLimitExceeded:
                self._soft_due = not self._armed
            else:
                self._stop = interrupt
            if self._armed:
                _throw_into(self._thread_id, interrupt)

    def end(self, outcome: Any, error: BaseException | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(outcome)
        elif isinstance(error, Exception) and not isinstance(error, StopIteration):
            self.ended.set_exception(error)
        else:
            # One that ends an event loop or can't be set on a future: the thread would have ended by it.
            self.ended.set_exception(
                WorkerLostError(f"Worker exited prematurely: {error!r} ended its thread. Job: {self.number}.")
            )

    # --- on the job's thread ---

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
            self._arm()
            outcome = function()
        except BaseException as exc:
            error = exc
        # What was thrown a moment ago may land on any call from here until `_disarm` has returned. A soft
        # limit and a stop are the most that can be thrown, so the third call is left alone.
        try:
            self._disarm()
        except _INTERRUPTS:
            try:
                self._disarm()
            except _INTERRUPTS:
                self._disarm()
        try:
            if self.interrupted and self._stop is not None and not isinstance(error, self._stop):
                # It landed late, or the function swallowed it: what was stopped must not be committed.
                raise self._stop() from error
            if error is not None:
                raise error
            return outcome
        finally:
            del error  # it holds this frame through its traceback

    def _arm(self) -> None:
        with self._lock:
            if self._stop is not None:
                raise self._stop
            if self._soft_due:
                self._soft_due = False
                raise SoftTimeLimitExceeded
            self._armed = True

    def _disarm(self) -> None:
        with self._lock:
            self.interrupted = self._stop is not None
            self._armed = False
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


class _Thread:
    """A thread that runs jobs until it is dismissed."""

    def __init__(self, handler: Handler, name: str) -> None:
        self._handler = handler
        self._inbox: queue.SimpleQueue[_Run | None] = queue.SimpleQueue()
        self.current: _Run | None = None
        # A daemon, because one that is stuck in C must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def begin(self, run: _Run) -> None:
        self.current = run
        self._inbox.put(run)

    def dismiss(self) -> None:
        self._inbox.put(None)

    def join(self) -> None:
        self._thread.join()

    def _work(self) -> None:
        while (run := self._inbox.get()) is not None:
            run.execute(self._handler)
            del run  # a thread that waits holds on to nothing


class ThreadPool:
    """Runs each job on a thread of its own, in this process.

    A thread can't be killed. A job that is stopped gets an exception raised in its function; if that is
    blocked in C for longer than `grace` seconds, `run` raises all the same, and the thread is left to itself
    and replaced. Should its function return some day, it meets the exception then, before it can commit.
    """

    def __init__(self, handler: Handler, size: int, *, name: str = "task", grace: float = 2.0) -> None:
        self.size = checked_size(size)
        self._handler = handler
        self._name = name
        self._grace = grace
        self._members: IdleMembers[_Thread] = IdleMembers()
        self._threads: set[_Thread] = set()
        self._names = itertools.count(1)
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Nothing: threads start with the first jobs."""

    async def ready(self) -> None:
        """At once: threads start with the first jobs."""

    async def run(self, job: Any, limits: Limits, note: Note) -> Any:
        with self._members.job():
            run = _Run(job, note, next(self._numbers))
            if not self._members.idle:
                self._hire()
            thread = await self._members.borrow()
            try:
                thread.begin(run)
                return await self._outcome(run, limits)
            finally:
                self._settle(thread, run)

    def resize(self, size: int) -> None:
        self.size = checked_size(size)
        while self._members.idle and len(self._threads) > self.size:
            self._dismiss(self._members.idle.pop())
        for _ in range(self._members.waiting_jobs):
            self._hire()

    def info(self) -> dict[str, Any]:
        return {"max-concurrency": self.size, "threads": len(self._threads)}

    async def stop(self) -> None:
        self._members.refuse(RuntimeError("the pool has been stopped and takes no more jobs"), also_waiting=False)
        await self._members.all_jobs_ended()
        for thread in list(self._threads):
            self._dismiss(thread)
            thread.join()

    def kill(self) -> None:
        lost = WorkerLostError("Worker exited prematurely: the pool was ended at once.")
        self._members.refuse(lost, also_waiting=True)
        for thread in list(self._threads):
            self._dismiss(thread)
            if thread.current is not None:
                thread.current.throw(Terminated)
                thread.current.end(None, lost)

    async def _outcome(self, run: _Run, limits: Limits) -> Any:
        soft: asyncio.TimerHandle | None = None
        if limits.soft:
            soft = asyncio.get_running_loop().call_later(limits.soft, run.throw, SoftTimeLimitExceeded)
        try:
            if await _ends(run, limits.hard or None):
                return run.ended.result()
            run.throw(TimeLimitExceeded)
            if await _ends(run, self._grace) and not run.interrupted:
                return run.ended.result()
            raise TimeLimitExceeded(limits.hard)
        except asyncio.CancelledError:
            run.throw(Terminated)
            if await _ends(run, self._grace) and not run.interrupted:
                return run.ended.result()
            raise
        finally:
            if soft is not None:
                soft.cancel()

    def _settle(self, thread: _Thread, run: _Run) -> None:
        thread.current = None
        if thread not in self._threads:
            return
        if not run.ended.done():
            log.error(
                "job %d is blocked and can't be stopped; its thread is left to itself, a new one takes its place: %s",
                run.number,
                reprlib.repr(run.job),
            )
            run.ended.cancel()
            self._dismiss(thread)
            self._hire()
            return
        if not run.ended.cancelled():
            run.ended.exception()  # seen: the loop need not report it
        if len(self._threads) > self.size:
            self._dismiss(thread)
        else:
            self._members.offer(thread)

    def _hire(self) -> None:
        if len(self._threads) < self.size:
            thread = _Thread(self._handler, f"{self._name}-{next(self._names)}")
            self._threads.add(thread)
            self._members.offer(thread)

    def _dismiss(self, thread: _Thread) -> None:
        self._threads.discard(thread)
        thread.dismiss()


async def _ends(run: _Run, within: float | None) -> bool:
    """Whether the job ends in this time; unlike `wait_for`, a cancellation of the waiter leaves the job alone."""
    await asyncio.wait([run.ended], timeout=within)
    return run.ended.done()
