"""The pool `prefork`: one job at a time in each of a number of child processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import reprlib
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from pyramid_temporal_compat.exceptions import NotSerializable, TimeLimitExceeded, WorkerLostError
from pyramid_temporal_compat.message.backoff import exponential_pause
from pyramid_temporal_compat.message.time_limits import Limits
from pyramid_temporal_compat.worker.pools import child as wire
from pyramid_temporal_compat.worker.pools.pool import Crew, Handler, Note, checked_size
from pyramid_temporal_compat.worker.pools.zygote import ENDED, FORKED, Report, Zygote

log = logging.getLogger(__name__)

_CHUNK = 1 << 18
_TIDY_UP = 0.1
"""Seconds between SIGTERM and SIGKILL at the hard limit, for `finally` blocks; Celery gives as many."""


class RemoteTraceback(Exception):
    """The traceback of an exception as it was in the child process; the cause of what `run` raises."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _ChildDied(Exception):
    """The child ended before it had begun the job, which so can be given to another."""


class _Run:
    """One job, while a child has it."""

    def __init__(self, job: Any, limits: Limits, note: Note, number: int) -> None:
        self.job = job
        self.limits = limits
        self.note = note
        self.number = number
        self.begun = False
        self.past_hard_limit = False
        self.stopped = False
        """By the worker, so that the child's death is no news."""
        self.ended: asyncio.Future[tuple[Any, Exception | None]] = asyncio.get_running_loop().create_future()
        self._timers: list[asyncio.TimerHandle] = []

    def begin(self, child: _Child) -> None:
        self.begun = True
        loop = self.ended.get_loop()
        if self.limits.soft:
            self._timers.append(loop.call_later(self.limits.soft, child.send_signal, wire.SOFT_LIMIT))
        if self.limits.hard:
            self._timers.append(loop.call_later(self.limits.hard, self._hard_limit_passed, child))

    def end(self, outcome: Any, error: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        if not self.ended.done():
            self.ended.set_result((outcome, error))

    def lost(self, why: str) -> None:
        """The child is no more."""
        if self.past_hard_limit:
            self.end(None, TimeLimitExceeded(self.limits.hard))
        elif not self.begun:
            self.end(None, _ChildDied())
        else:
            self.end(None, WorkerLostError(f"Worker exited prematurely: {why} Job: {self.number}."))

    def _hard_limit_passed(self, child: _Child) -> None:
        self.past_hard_limit = self.stopped = True
        child.terminate(signal.SIGTERM)
        self._timers.append(self.ended.get_loop().call_later(_TIDY_UP, child.send_signal, signal.SIGKILL))


class _Child:
    """A child process, as the worker sees it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid: int | None = None
        self.sock, self.theirs = socket.socketpair()
        self.sock.setblocking(False)
        self.ready = False
        self.leaving = False
        self.ended = False
        self.run: _Run | None = None
        self.jobs = 0
        self.rss_kib = 0
        self.trouble = ""
        """Why it could not start, in its own words."""
        self.timer: asyncio.TimerHandle | None = None
        self._received = bytearray()

    def send_signal(self, signum: int) -> None:
        if self.pid is not None and not self.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def terminate(self, signum: int) -> None:
        """Send a signal that ends it."""
        if signum in wire.ENDING:
            self.leaving = True  # once its job is over, if that can't be interrupted just now
            with contextlib.suppress(OSError):  # full: it will be killed when its time is up
                self.sock.send(wire.packed(wire.END))
        self.send_signal(signum)

    def receive(self) -> bool:
        """Take in some of what it has sent; False if it will send no more. Raises `BlockingIOError` as sockets do."""
        try:
            data = self.sock.recv(_CHUNK)
        except ConnectionError:
            return False
        self._received += data
        return bool(data)

    def frames(self) -> list[tuple[bytes, bytes]]:
        """The whole frames among what was received."""
        frames = []
        start, header = 0, wire.HEADER
        while len(self._received) - start >= header.size:
            kind, size = header.unpack_from(self._received, start)
            end = start + header.size + size
            if len(self._received) < end:
                break
            with memoryview(self._received) as received:
                frames.append((kind, bytes(received[start + header.size : end])))
            start = end
        del self._received[:start]
        return frames

    def let_go(self) -> None:
        """Let it end once it is idle."""
        self.leaving = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)


class PreforkPool:
    """Runs each job on the main thread of a child process, and replaces a child that dies.

    Belongs to the event loop that `ready` or the first `run` is called on; only `start` comes before.
    """

    def __init__(
        self,
        handler: Handler,
        size: int,
        *,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        on_child_start: Callable[[], None] | None = None,
        on_child_exit: Callable[[int, int], None] | None = None,
        before_fork: Callable[[], None] | None = None,
        on_broken: Callable[[], None] | None = None,
        proc_alive_timeout: float = 4.0,
        grace: float = 5.0,
    ) -> None:
        """
        :param max_tasks_per_child: a child that has run so many jobs is replaced.
        :param max_memory_per_child: in KiB; a child that has been larger than this is replaced after its job.
        :param on_child_start: called in a new child; one in which it raises is given up, and tried again later.
        :param on_child_exit: called with pid and exit code in a child that ends in an orderly way.
        :param before_fork: called in the process that forks, before every fork.
        :param on_broken: called when no child can be forked ever again, because the process that does it died.
        :param proc_alive_timeout: seconds in which a new child must be ready.
        :param grace: seconds that a child has to end, after it was told to, before it is killed.
        """
        self.size = checked_size(size)
        self._max_tasks = max_tasks_per_child or None
        self._max_memory = max_memory_per_child or None
        self._before_fork = before_fork
        self._on_broken = on_broken
        self._proc_alive_timeout = proc_alive_timeout
        self._grace = grace
        self._serve = partial(wire.serve, handler=handler, on_start=on_child_start, on_exit=on_child_exit)
        self._crew: Crew[_Child] = Crew()
        self._children: dict[int, _Child] = {}
        self._child_numbers = itertools.count(1)
        self._run_numbers = itertools.count(1)
        self._writes = 0
        self._failed_starts = 0
        self._next_start: asyncio.TimerHandle | None = None
        self._started = False
        self._zygote: Zygote  # from start() on
        self._attached = False
        self._loop: asyncio.AbstractEventLoop  # these two from _attach() on
        self._first_ready: asyncio.Future[None]
        self._all_ended: asyncio.Future[None] | None = None

    # --- the protocol of a pool ---

    def start(self) -> None:
        self._zygote = Zygote(self._serve, self._before_fork)
        self._started = True

    async def ready(self) -> None:
        self._attach()
        await asyncio.shield(self._first_ready)
        if self._crew.refusal is not None:
            raise self._crew.refusal

    async def run(self, job: Any, limits: Limits, note: Note) -> Any:
        with self._crew.job():
            self._attach()
            frame = wire.packed(wire.JOB, pickle.dumps(job, pickle.HIGHEST_PROTOCOL))
            number = next(self._run_numbers)
            while True:
                child = await self._crew.borrow()
                if child.ended:
                    continue
                run = child.run = _Run(job, limits, note, number)
                try:
                    outcome, error = await self._outcome(child, run, frame)
                except asyncio.CancelledError:
                    if not run.ended.done():
                        child.send_signal(signal.SIGKILL)
                    raise
                finally:
                    self._settle(child, run)
                if error is None:
                    return outcome
                if not isinstance(error, _ChildDied):
                    raise error

    def resize(self, size: int) -> None:
        self.size = checked_size(size)
        if self._attached:
            while self._crew.idle and self._staying() > self.size:
                self._retire(self._crew.idle.pop())
            self._replenish()

    def info(self) -> dict[str, Any]:
        children = [child for child in self._children.values() if child.ready and not child.leaving]
        share = [f"{child.jobs / self._writes:.2f}" if self._writes else "0" for child in children]
        return {
            "max-concurrency": self.size,
            "processes": [child.pid for child in children],
            "max-tasks-per-child": self._max_tasks or "N/A",
            "max-memory-per-child": self._max_memory or "N/A",
            "put-guarded-by-semaphore": True,
            "writes": {
                "total": self._writes,
                "avg": f"{1 / len(children) if children and self._writes else 0:.2f}",
                "all": ", ".join(share),
                "raw": ", ".join(str(child.jobs) for child in children),
                "strategy": "fair",
                "inqueues": {"total": len(children), "active": sum(child.run is not None for child in children)},
            },
        }

    async def stop(self) -> None:
        self._crew.refuse(RuntimeError("the pool has been stopped and takes no more jobs"), also_waiting=False)
        await self._crew.all_jobs_ended()
        if not self._started:
            return
        self._attach()
        if not self._first_ready.done():
            self._first_ready.set_result(None)
        self._all_ended = self._loop.create_future()
        for child in list(self._children.values()):
            self._retire(child)
        if self._children:
            await self._all_ended
        self._close()

    def kill(self) -> None:
        self._end_all("the pool was ended at once.")

    # --- one job ---

    async def _outcome(self, child: _Child, run: _Run, frame: bytes) -> tuple[Any, Exception | None]:
        try:
            self._writes += 1
            with contextlib.suppress(ConnectionError):  # it died, as its zygote will tell
                await self._loop.sock_sendall(child.sock, frame)
            await asyncio.wait([run.ended])
        except asyncio.CancelledError as cancelled:
            run.stopped = True
            child.terminate(_signal_named(cancelled))
            await asyncio.wait([run.ended], timeout=self._grace)
            if not run.ended.done():
                child.send_signal(signal.SIGKILL)
                await asyncio.wait([run.ended])
            if isinstance(run.ended.result()[1], (_ChildDied, WorkerLostError, TimeLimitExceeded)):
                raise
        return run.ended.result()

    def _settle(self, child: _Child, run: _Run) -> None:
        """The child is free again, if it is still there."""
        child.run = None
        if child.ended:
            child.sock.close()
            return
        if not run.ended.done():  # nobody waits for the job any more, and the child is being killed
            child.leaving = True
            return
        worn = self._max_tasks is not None and child.jobs >= self._max_tasks
        if self._max_memory is not None and child.rss_kib > self._max_memory:
            worn = True
            log.warning(
                "child process %s exceeds its memory limit (%d KiB / %d KiB) and is replaced",
                child.pid,
                child.rss_kib,
                self._max_memory,
            )
        if worn or self._staying() > self.size:
            self._retire(child)
            self._replenish()
        elif not child.leaving:
            self._crew.offer(child)

    # --- children ---

    def _attach(self) -> None:
        """Fork the first children and listen, on the running event loop."""
        if self._attached:
            return
        if not self._started:
            raise RuntimeError("the pool was not started; call start() before this process starts any thread")
        self._loop = asyncio.get_running_loop()
        self._first_ready = self._loop.create_future()
        self._attached = True
        self._loop.add_reader(self._zygote.sock, self._on_reports)
        self._replenish()

    def _staying(self) -> int:
        return sum(not child.leaving for child in self._children.values())

    def _replenish(self) -> None:
        """Fork what is missing; while children fail to start, one at a time and ever more slowly."""
        if self._all_ended is not None or self._next_start is not None:
            return
        while self._staying() < self.size and not self._failed_starts:
            self._fork()
        if self._staying() < self.size:
            delay = exponential_pause(0.25, self._failed_starts, 30.0)
            log.error("the next attempt to start a child process is in %g s", delay)
            self._next_start = self._loop.call_later(delay, self._start_again)

    def _start_again(self) -> None:
        self._next_start = None
        if self._staying() < self.size and self._all_ended is None:
            self._fork()

    def _fork(self) -> None:
        try:
            child = _Child(next(self._child_numbers))
            self._zygote.ask_for_child(child.number, child.theirs)
        except ConnectionError:
            return  # the zygote died: its next report says so
        except OSError as exc:
            self._start_failed()
            log.error("a child process could not be started: %s", exc)
            return
        self._children[child.number] = child
        self._loop.add_reader(child.sock, self._on_data, child)
        child.timer = self._loop.call_later(self._proc_alive_timeout, self._not_alive_in_time, child)

    def _start_failed(self) -> None:
        if self._next_start is None:  # else it is one of several that failed together
            self._failed_starts += 1

    def _not_alive_in_time(self, child: _Child) -> None:
        child.trouble = f"it was not ready within {self._proc_alive_timeout:g} s (worker_proc_alive_timeout)"
        child.send_signal(signal.SIGKILL)

    def _retire(self, child: _Child) -> None:
        if child.timer is not None:
            child.timer.cancel()
        child.let_go()
        child.timer = self._loop.call_later(self._grace, child.send_signal, signal.SIGKILL)

    def _on_data(self, child: _Child) -> None:
        with contextlib.suppress(BlockingIOError):
            if not child.receive():
                # Its end is closed. That it died is the zygote's to tell, who also knows of what.
                self._loop.remove_reader(child.sock)
        self._take_in(child)

    def _take_in(self, child: _Child) -> None:
        for kind, payload in child.frames():
            run = child.run
            if kind == wire.READY:
                child.pid = int(payload)  # it may be faster than the zygote's report
                self._on_ready(child)
            elif kind == wire.NOT_STARTED:
                child.trouble = payload.decode()
            elif run is None:
                continue
            elif kind == wire.BEGUN:
                run.begin(child)
            elif kind == wire.NOTE:
                self._loop.call_soon(_deliver, run.note, payload)
            elif kind == wire.ENDED:
                child.jobs += 1
                outcome, error = None, None
                try:
                    child.rss_kib, outcome, error, text = pickle.loads(payload)
                    if error is not None and text:
                        error.__cause__ = RemoteTraceback(text)
                except Exception as exc:
                    error = NotSerializable(
                        f"the outcome of job {run.number} can't be read in the worker: {exc!r}; "
                        f"return a value that pickle takes, both ways"
                    )
                run.end(outcome, error)

    def _on_ready(self, child: _Child) -> None:
        if child.timer is not None:
            child.timer.cancel()
        child.theirs.close()
        child.ready = True
        self._failed_starts = 0
        if not self._first_ready.done():
            self._first_ready.set_result(None)
        if child.leaving or self._staying() > self.size:
            self._retire(child)
        else:
            self._crew.offer(child)
            self._replenish()

    def _on_reports(self) -> None:
        reports = self._zygote.reports()
        if reports is None:
            log.critical(
                "the process (pid %d) that forks the pool's children died; no job can run any more: restart the worker",
                self._zygote.pid,
            )
            self._end_all("the process that forks the pool's children died.")
            if self._on_broken is not None:
                self._on_broken()
            return
        for report in reports:
            self._on_report(report)

    def _on_report(self, report: Report) -> None:
        child = self._children.get(report.number)
        if child is None:
            return
        if report.kind == FORKED:
            child.pid = report.pid
            if child.trouble:
                child.send_signal(signal.SIGKILL)
        elif report.kind == ENDED:
            self._on_end(child, _human_status(report.status))

    def _on_end(self, child: _Child, how: str) -> None:
        with contextlib.suppress(BlockingIOError):
            while child.receive():  # what it sent before it ended
                pass
        self._take_in(child)
        child.ended = True
        if child.timer is not None:
            child.timer.cancel()
        del self._children[child.number]
        with contextlib.suppress(ValueError):
            self._crew.idle.remove(child)
        self._close_sockets(child)
        if child.run is not None:
            if not child.run.ended.done() and not child.run.stopped:
                log.error(
                    "child process %s ended with %s in job %d: %s", child.pid, how, child.run.number, _short(child)
                )
            child.run.lost(how)
        elif not child.ready and not child.leaving:
            self._start_failed()
            log.error("child process %s could not start (%s): %s", child.pid, how, child.trouble.strip())
        elif not child.leaving:
            if not child.jobs:
                self._start_failed()
            log.error("child process %s ended with %s while it was idle", child.pid, how)
        if self._all_ended is None:
            self._replenish()
        elif not self._children and not self._all_ended.done():
            self._all_ended.set_result(None)

    # --- the end ---

    def _close_sockets(self, child: _Child) -> None:
        self._loop.remove_reader(child.sock)
        child.theirs.close()
        with contextlib.suppress(OSError):
            child.sock.shutdown(socket.SHUT_RDWR)  # wakes a job that is still being sent
        if child.run is None:
            child.sock.close()

    def _end_all(self, why: str) -> None:
        lost = WorkerLostError(f"Worker exited prematurely: {why}")
        self._crew.refuse(lost, also_waiting=True)
        self._crew.idle.clear()
        children = list(self._children.values())
        self._children.clear()
        for child in children:
            child.send_signal(signal.SIGKILL)
            child.ended = True
            if child.timer is not None:
                child.timer.cancel()
            self._close_sockets(child)
            if child.run is not None:
                child.run.end(None, lost)
        for waiter in (self._first_ready, self._all_ended) if self._attached else ():
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        self._close()

    def _close(self) -> None:
        if self._next_start is not None:
            self._next_start.cancel()
        if self._attached and self._zygote.sock.fileno() >= 0:
            self._loop.remove_reader(self._zygote.sock)
        if self._started:
            self._zygote.end()


def _short(child: _Child) -> str:
    return reprlib.repr(child.run.job) if child.run else ""


def _deliver(note: Note, payload: bytes) -> None:
    note(pickle.loads(payload))


def _signal_named(cancelled: asyncio.CancelledError) -> signal.Signals:
    """The signal that a cancellation asks for: `SIGKILL`, `KILL`, 9; SIGTERM where it names none."""
    asked = cancelled.args[0] if cancelled.args else ""
    name = str(int(asked)) if isinstance(asked, int) else str(asked).upper()
    for signum in signal.Signals:
        if name in (signum.name, signum.name.removeprefix("SIG"), str(signum.value)):
            return signum
    return signal.SIGTERM


def _human_status(status: int) -> str:
    if status >= 0:
        return f"exitcode {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"
