"""The pool `prefork`: runs one job at a time in each of several child processes.

Three kinds of processes work together:

- The worker holds this pool and the Temporal client. It decides which child runs which job.
- The zygote (`zygote.py`) forks the children. The worker forks the zygote first, while it has no other thread.
- A child (`child_process.py`) runs jobs on its main thread, one after the other.

The states of a child, as the worker sees it (`ChildState` in `child_handle.py`):

    STARTING ──READY──> IDLE ──JOB──> BUSY          the child takes jobs
        │                 ^             │
        │                 └───OUTCOME───┤
        │                               │
        ├── not ready in time,          ├── enough jobs done, too much memory, the pool shrinks or stops,
        │   the pool stops              │   the job is stopped
        v                               v
      DEAD <───────CHILD_EXITED────── ENDING        the child takes no more jobs

A child can die in every state; it is DEAD once the zygote reports CHILD_EXITED. An IDLE child is ENDING, too, when the
pool shrinks or stops. A job that was on its way to a child that died goes to another child, because it has not begun.
A job that had begun ends with `WorkerLostError`. The pool replaces a dead child, unless it is stopping.

The states of the pool (`PoolState`): NEW, after `start()` ZYGOTE_FORKED, with the first call on the event loop RUNNING,
then STOPPING and ENDED.

The messages (`prefork_messages.py`):

    from    to      message                     meaning
    worker  zygote  number, child's socket end  fork a child with this number
    zygote  worker  CHILD_FORKED                the child's pid
    zygote  worker  CHILD_EXITED                the child has ended, with this exit code or signal
    child   worker  READY                       the child can take a job
    child   worker  NOT_STARTED                 the child can't start, with this traceback, and exits
    worker  child   JOB                         run this job
    child   worker  BEGUN                       the handler begins, and the limits count
    child   worker  NOTE                        progress of the job
    child   worker  OUTCOME                     how the job ended; the child can take the next job
    worker  child   end of the socket           exit once the job is over
    worker  child   END, and then a signal      stop the job, and exit
    worker  child   SIGUSR1                     the soft limit has passed
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import logging
import pickle
import reprlib
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from pyramid_temporal_compat.control.limits import Limits
from pyramid_temporal_compat.exceptions import NotSerializable, TimeLimitExceeded, WorkerLostError
from pyramid_temporal_compat.message.backoff import exponential_pause
from pyramid_temporal_compat.worker.pools import child_process
from pyramid_temporal_compat.worker.pools import prefork_messages as messages
from pyramid_temporal_compat.worker.pools.child_handle import ChildDied, ChildHandle, ChildJob, ChildState, JobState
from pyramid_temporal_compat.worker.pools.pool import Handler, IdleMembers, Note, checked_size
from pyramid_temporal_compat.worker.pools.zygote import Zygote

log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 0.25, 30.0
"""Seconds between attempts to start a child: doubled after each failure, up to the second figure."""


class PoolState(enum.Enum):
    """Where the pool is in its life."""

    NEW = "new"
    ZYGOTE_FORKED = "zygote forked"
    """`start` was called. There is no event loop yet, and no child."""
    RUNNING = "running"
    """Children are forked and replaced."""
    STOPPING = "stopping"
    """Every job has ended, and every child was told to end."""
    ENDED = "ended"


class ChildTraceback(Exception):
    """The traceback that an exception had in the child process: the cause of the exception that `run` raises."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class PreforkPool:
    """Runs each job on the main thread of a child process, and replaces a child that dies.

    Belongs to the event loop on which `ready` or the first `run` is called. Only `start` is called earlier.
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
        :param max_tasks_per_child: after this number of jobs a child is replaced.
        :param max_memory_per_child: KiB; a child that has used more than this is replaced after its job.
        :param on_child_start: called in a new child. If it raises, the child ends, and the pool tries again later.
        :param on_child_exit: called with pid and exit code in a child that ends in order.
        :param before_fork: called in the zygote, before every fork.
        :param on_broken: called when the zygote has died, so that no child can be forked ever again.
        :param proc_alive_timeout: seconds until a new child must be ready.
        :param grace: seconds between telling a child to end and killing it.
        """
        self.size = checked_size(size)
        self._max_tasks = max_tasks_per_child or None
        self._max_memory = max_memory_per_child or None
        self._before_fork = before_fork
        self._on_broken = on_broken
        self._proc_alive_timeout = proc_alive_timeout
        self._grace = grace
        self._serve = partial(child_process.serve, handler=handler, on_start=on_child_start, on_exit=on_child_exit)
        self._members: IdleMembers[ChildHandle] = IdleMembers()
        self._children: dict[int, ChildHandle] = {}
        self._child_numbers = itertools.count(1)
        self._job_numbers = itertools.count(1)
        self._jobs_sent = 0
        self._failed_starts = 0
        self._next_start: asyncio.TimerHandle | None = None
        self._state = PoolState.NEW
        self._zygote: Zygote  # set by start()
        self._loop: asyncio.AbstractEventLoop  # this and the next two are set by _attach()
        self._first_child_ready: asyncio.Future[None]
        self._all_children_ended: asyncio.Future[None]

    # --- the protocol of a pool ------------------------------------------------------------------------

    def start(self) -> None:
        self._zygote = Zygote(self._serve, self._before_fork)
        self._state = PoolState.ZYGOTE_FORKED

    async def ready(self) -> None:
        if self._state is not PoolState.ENDED:
            self._attach()
            await asyncio.shield(self._first_child_ready)
        if self._members.refusal is not None:
            raise self._members.refusal

    async def run(self, job: Any, limits: Limits, note: Note) -> Any:
        with self._members.job():
            self._attach()
            message = messages.packed(messages.JOB, pickle.dumps(job, pickle.HIGHEST_PROTOCOL))
            number = next(self._job_numbers)
            while True:
                child = await self._members.borrow()
                if child.state is ChildState.DEAD:
                    continue
                sent = ChildJob(job, limits, note, number)
                child.take(sent)
                try:
                    outcome, error = await self._outcome(child, sent, message)
                except asyncio.CancelledError:
                    if not sent.ended.done():
                        child.send_signal(signal.SIGKILL)
                    raise
                finally:
                    self._release(child, sent)
                if error is None:
                    return outcome
                if not isinstance(error, ChildDied):
                    raise error

    def resize(self, size: int) -> None:
        self.size = checked_size(size)
        if self._state is PoolState.RUNNING:
            while self._members.idle and self._staying() > self.size:
                self._end_when_idle(self._members.idle.pop())
            self._replenish()

    def info(self) -> dict[str, Any]:
        usable = (ChildState.IDLE, ChildState.BUSY)
        children = [child for child in self._children.values() if child.state in usable]
        share = [f"{child.jobs_done / self._jobs_sent:.2f}" if self._jobs_sent else "0" for child in children]
        return {
            "max-concurrency": self.size,
            "processes": [child.pid for child in children],
            "max-tasks-per-child": self._max_tasks or "N/A",
            "max-memory-per-child": self._max_memory or "N/A",
            "put-guarded-by-semaphore": True,
            "writes": {
                "total": self._jobs_sent,
                "avg": f"{1 / len(children) if children and self._jobs_sent else 0:.2f}",
                "all": ", ".join(share),
                "raw": ", ".join(str(child.jobs_done) for child in children),
                "strategy": "fair",
                "inqueues": {
                    "total": len(children),
                    "active": sum(child.state is ChildState.BUSY for child in children),
                },
            },
        }

    async def stop(self) -> None:
        self._members.refuse(RuntimeError("the pool has been stopped and takes no more jobs"), also_waiting=False)
        await self._members.all_jobs_ended()
        if self._state in (PoolState.NEW, PoolState.ENDED):
            return
        self._attach()
        self._state = PoolState.STOPPING
        if not self._first_child_ready.done():
            self._first_child_ready.set_result(None)
        for child in list(self._children.values()):
            self._end_when_idle(child)
        if self._children:
            await self._all_children_ended
        self._close()

    def kill(self) -> None:
        self._end_all("the pool was ended at once.")

    # --- one job -------------------------------------------------------------------------------------

    async def _outcome(self, child: ChildHandle, job: ChildJob, message: bytes) -> tuple[Any, Exception | None]:
        """Send the job to the child, and return how it ended. Stop the job if the caller is cancelled."""
        try:
            self._jobs_sent += 1
            with contextlib.suppress(ConnectionError):  # the child died: the zygote will report it
                await self._loop.sock_sendall(child.sock, message)
            await asyncio.wait([job.ended])
        except asyncio.CancelledError as cancelled:
            job.state = JobState.CANCELLED
            child.terminate(_signal_named(cancelled))
            await asyncio.wait([job.ended], timeout=self._grace)
            if not job.ended.done():
                child.send_signal(signal.SIGKILL)
                await asyncio.wait([job.ended])
            if isinstance(job.ended.result()[1], (ChildDied, WorkerLostError, TimeLimitExceeded)):
                raise
        return job.ended.result()

    def _release(self, child: ChildHandle, job: ChildJob) -> None:
        """Give the child back once its job is over: to the next job, or to its end."""
        child.job = None
        if child.state is ChildState.DEAD:
            child.sock.close()
            return
        if not job.ended.done():  # the caller has stopped waiting, and the child is being killed
            child.no_more_jobs()
            return
        if self._is_worn(child) or self._staying() > self.size:
            self._end_when_idle(child)
            self._replenish()
        elif child.state is not ChildState.ENDING:
            child.state = ChildState.IDLE
            self._members.offer(child)

    def _is_worn(self, child: ChildHandle) -> bool:
        """Whether the child is to be replaced because of what it has done or used."""
        if self._max_memory is not None and child.rss_kib > self._max_memory:
            log.warning(
                "child process %s exceeds its memory limit (%d KiB / %d KiB) and is replaced",
                child.pid,
                child.rss_kib,
                self._max_memory,
            )
            return True
        return self._max_tasks is not None and child.jobs_done >= self._max_tasks

    # --- children ------------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Fork the first children and listen, on the running event loop."""
        if self._state is PoolState.NEW:
            raise RuntimeError("the pool was not started; call start() before this process starts any thread")
        if self._state is not PoolState.ZYGOTE_FORKED:
            return
        self._loop = asyncio.get_running_loop()
        self._first_child_ready = self._loop.create_future()
        self._all_children_ended = self._loop.create_future()
        self._state = PoolState.RUNNING
        self._loop.add_reader(self._zygote.sock, self._on_reports)
        self._replenish()

    def _staying(self) -> int:
        """Return how many children will take another job."""
        return sum(child.stays for child in self._children.values())

    def _replenish(self) -> None:
        """Fork the children that are missing. While children fail to start, try one at a time, ever more slowly."""
        if self._state is not PoolState.RUNNING or self._next_start is not None:
            return
        while self._staying() < self.size and not self._failed_starts:
            self._fork()
        if self._staying() < self.size:
            delay = exponential_pause(FIRST_RETRY, self._failed_starts, LONGEST_RETRY)
            log.error("the next attempt to start a child process is in %g s", delay)
            self._next_start = self._loop.call_later(delay, self._start_again)

    def _start_again(self) -> None:
        self._next_start = None
        if self._staying() < self.size and self._state is PoolState.RUNNING:
            self._fork()

    def _fork(self) -> None:
        try:
            child = ChildHandle(next(self._child_numbers))
            self._zygote.ask_for_child(child.number, child.childs_end)
        except ConnectionError:
            return  # the zygote died: its socket will say so
        except OSError as exc:
            self._start_failed()
            log.error("a child process could not be started: %s", exc)
            return
        self._children[child.number] = child
        self._loop.add_reader(child.sock, self._on_data, child)
        child.timer = self._loop.call_later(self._proc_alive_timeout, self._not_alive_in_time, child)

    def _start_failed(self) -> None:
        if self._next_start is None:  # else several children failed together, and count once
            self._failed_starts += 1

    def _not_alive_in_time(self, child: ChildHandle) -> None:
        child.start_error = f"it was not ready within {self._proc_alive_timeout:g} s (worker_proc_alive_timeout)"
        child.send_signal(signal.SIGKILL)

    def _end_when_idle(self, child: ChildHandle) -> None:
        """Let the child end once it has no job; kill it if it takes longer than the grace."""
        child.stop_timer()
        child.end_when_idle()
        child.timer = self._loop.call_later(self._grace, child.send_signal, signal.SIGKILL)

    def _on_data(self, child: ChildHandle) -> None:
        with contextlib.suppress(BlockingIOError):
            if not child.receive():
                # The child has closed its end. The zygote will report that it died, and how.
                self._loop.remove_reader(child.sock)
        self._handle_messages(child)

    def _handle_messages(self, child: ChildHandle) -> None:
        for kind, payload in child.take_messages():
            job = child.job
            if kind == messages.READY:
                child.pid = int(payload)  # this message may come before the zygote's report
                self._on_ready(child)
            elif kind == messages.NOT_STARTED:
                child.start_error = payload.decode()
            elif job is None:
                continue
            elif kind == messages.BEGUN:
                job.begin(child)
            elif kind == messages.NOTE:
                self._loop.call_soon(_deliver, job.note, payload)
            elif kind == messages.OUTCOME:
                child.jobs_done += 1
                job.end(*_read_outcome(child, job, payload))

    def _on_ready(self, child: ChildHandle) -> None:
        child.stop_timer()
        child.childs_end.close()
        self._failed_starts = 0
        if not self._first_child_ready.done():
            self._first_child_ready.set_result(None)
        if child.state is ChildState.STARTING:
            child.state = ChildState.IDLE
        if child.state is ChildState.ENDING or self._staying() > self.size:
            self._end_when_idle(child)
        else:
            self._members.offer(child)
            self._replenish()

    def _on_reports(self) -> None:
        reports = self._zygote.reports()
        if reports is None:
            self._on_zygote_died()
            return
        for report in reports:
            self._on_report(report)

    def _on_zygote_died(self) -> None:
        log.critical(
            "the process (pid %d) that forks the pool's children died; no job can run any more: restart the worker",
            self._zygote.pid,
        )
        self._end_all("the process that forks the pool's children died.")
        if self._on_broken is not None:
            self._on_broken()

    def _on_report(self, report: messages.Report) -> None:
        child = self._children.get(report.number)
        if child is None:
            return
        if report.kind == messages.CHILD_FORKED:
            child.pid = report.pid
            if child.start_error:  # its time had passed before its pid was known
                child.send_signal(signal.SIGKILL)
        elif report.kind == messages.CHILD_EXITED:
            self._on_exit(child, _human_status(report.status))

    def _on_exit(self, child: ChildHandle, how: str) -> None:
        with contextlib.suppress(BlockingIOError):
            while child.receive():  # what the child sent before it ended
                pass
        self._handle_messages(child)
        before, child.state = child.state, ChildState.DEAD
        child.stop_timer()
        del self._children[child.number]
        with contextlib.suppress(ValueError):
            self._members.idle.remove(child)
        self._close_sockets(child)
        if child.job is not None:
            self._child_died_in_job(child, child.job, how)
        else:
            self._child_died_without_job(child, before, how)
        if self._state is PoolState.RUNNING:
            self._replenish()
        elif not self._children and not self._all_children_ended.done():
            self._all_children_ended.set_result(None)

    def _child_died_in_job(self, child: ChildHandle, job: ChildJob, how: str) -> None:
        if not job.ended.done() and job.state in (JobState.SENT, JobState.BEGUN):  # else the worker ended the child
            log.error("child process %s ended with %s in job %d: %s", child.pid, how, job.number, reprlib.repr(job.job))
        job.child_died(how)

    def _child_died_without_job(self, child: ChildHandle, before: ChildState, how: str) -> None:
        """Log a death that nobody asked for, and count it if the child has not worked."""
        if before is ChildState.STARTING:
            self._start_failed()
            log.error("child process %s could not start (%s): %s", child.pid, how, child.start_error.strip())
        elif before is ChildState.IDLE:
            if not child.jobs_done:
                self._start_failed()
            log.error("child process %s ended with %s while it was idle", child.pid, how)

    # --- the end -------------------------------------------------------------------------------------

    def _close_sockets(self, child: ChildHandle) -> None:
        self._loop.remove_reader(child.sock)
        child.close_sockets()

    def _end_all(self, why: str) -> None:
        """Kill every child, and answer every job with `WorkerLostError`."""
        lost = WorkerLostError(f"Worker exited prematurely: {why}")
        self._members.refuse(lost, also_waiting=True)
        self._members.idle.clear()
        children = list(self._children.values())
        self._children.clear()
        for child in children:
            child.send_signal(signal.SIGKILL)
            child.state = ChildState.DEAD
            child.stop_timer()
            self._close_sockets(child)
            if child.job is not None:
                child.job.end(None, lost)
        if self._state in (PoolState.RUNNING, PoolState.STOPPING):
            for waiter in (self._first_child_ready, self._all_children_ended):
                if not waiter.done():
                    waiter.set_result(None)
        self._close()

    def _close(self) -> None:
        """End the zygote and stop listening."""
        if self._next_start is not None:
            self._next_start.cancel()
        if self._state in (PoolState.RUNNING, PoolState.STOPPING):
            self._loop.remove_reader(self._zygote.sock)
        if self._state not in (PoolState.NEW, PoolState.ENDED):
            self._zygote.end()
        self._state = PoolState.ENDED


def _read_outcome(child: ChildHandle, job: ChildJob, payload: bytes) -> tuple[Any, Exception | None]:
    """Return the job's outcome, or its error with the child's traceback as the cause. Note the child's memory."""
    try:
        child.rss_kib, outcome, error, text = pickle.loads(payload)
        if error is not None and text:
            error.__cause__ = ChildTraceback(text)
    except Exception as exc:
        return None, NotSerializable(
            f"the outcome of job {job.number} can't be read in the worker: {exc!r}; "
            "return a value that pickle can both write and read"
        )
    return outcome, error


def _deliver(note: Note, payload: bytes) -> None:
    note(pickle.loads(payload))


def _signal_named(cancelled: asyncio.CancelledError) -> signal.Signals:
    """Return the signal that a cancellation's message names: `SIGKILL`, `KILL` or 9. SIGTERM is the default."""
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
