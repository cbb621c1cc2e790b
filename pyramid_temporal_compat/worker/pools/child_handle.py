"""A child process of the pool `prefork` and the job that it runs, as the worker sees them."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
import socket
from typing import Any

from pyramid_temporal_compat.control.limits import Limits
from pyramid_temporal_compat.exceptions import TimeLimitExceeded, WorkerLostError
from pyramid_temporal_compat.worker.pools import prefork_messages as messages
from pyramid_temporal_compat.worker.pools.pool import Note

_CHUNK = 1 << 18
_SIGTERM_TO_SIGKILL = 0.1
"""Seconds between SIGTERM and SIGKILL at the hard limit, so that `finally` blocks can run; the same as Celery's."""


class ChildState(enum.Enum):
    """Where a child process is in its life. `prefork.py` draws the way from state to state."""

    STARTING = "starting"
    """The worker has asked the zygote for the child; the child has not said that it is ready."""
    IDLE = "idle"
    """It waits for a job."""
    BUSY = "busy"
    """It has a job."""
    ENDING = "ending"
    """It gets no more jobs, and ends by itself. Its last job may still run."""
    DEAD = "dead"
    """The process has ended, or was killed together with the pool. Never send a signal: its pid may be in use again."""


class JobState(enum.Enum):
    """Where a job is that a child has. A job has ended once `ChildJob.ended` is done."""

    SENT = "sent"
    """The handler has not begun. If the child dies now, another child can run the job."""
    BEGUN = "begun"
    """The handler runs, and the limits count."""
    CANCELLED = "cancelled"
    """The caller of `Pool.run` was cancelled: the worker has told the child to stop the job."""
    TIMED_OUT = "timed out"
    """The hard limit has passed: the worker has told the child to stop the job."""


class ChildDied(Exception):
    """The child ended before the job had begun, so the job can be given to another child."""


class ChildJob:
    """One job, while a child has it."""

    def __init__(self, job: Any, limits: Limits, note: Note, number: int) -> None:
        self.job = job
        self.limits = limits
        self.note = note
        self.number = number
        self.state = JobState.SENT
        self.ended: asyncio.Future[tuple[Any, Exception | None]] = asyncio.get_running_loop().create_future()
        """Holds the job's outcome, or the error that it ended with."""
        self._timers: list[asyncio.TimerHandle] = []

    def begin(self, child: ChildHandle) -> None:
        """Start the timers of the limits: the handler begins."""
        if self.state is JobState.SENT:
            self.state = JobState.BEGUN
        loop = self.ended.get_loop()
        if self.limits.soft:
            self._timers.append(loop.call_later(self.limits.soft, child.send_signal, messages.SOFT_LIMIT_SIGNAL))
        if self.limits.hard:
            self._timers.append(loop.call_later(self.limits.hard, self._hard_limit_passed, child))

    def end(self, outcome: Any, error: Exception | None) -> None:
        """Record how the job ended. Only the first call counts."""
        for timer in self._timers:
            timer.cancel()
        if not self.ended.done():
            self.ended.set_result((outcome, error))

    def child_died(self, how: str) -> None:
        """End the job with the error that fits its state: its child has died."""
        if self.state is JobState.TIMED_OUT:
            self.end(None, TimeLimitExceeded(self.limits.hard))
        elif self.state is JobState.SENT:
            self.end(None, ChildDied())
        else:
            self.end(None, WorkerLostError(f"Worker exited prematurely: {how} Job: {self.number}."))

    def _hard_limit_passed(self, child: ChildHandle) -> None:
        self.state = JobState.TIMED_OUT
        child.terminate(signal.SIGTERM)
        self._timers.append(self.ended.get_loop().call_later(_SIGTERM_TO_SIGKILL, child.send_signal, signal.SIGKILL))


class ChildHandle:
    """A child process, as the worker sees it. Belongs to the event loop's thread."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid: int | None = None
        self.state = ChildState.STARTING
        self.sock, self.childs_end = socket.socketpair()
        self.sock.setblocking(False)
        self.job: ChildJob | None = None
        """The job that the child has. It stays here after the child's death, until the pool has answered the job."""
        self.jobs_done = 0
        self.rss_kib = 0
        """The most memory that the child has ever used, as of its last job."""
        self.start_error = ""
        """Why the child could not start."""
        self.timer: asyncio.TimerHandle | None = None
        """Kills the child if it does not become ready, or does not end, in time."""
        self._buffer = messages.MessageBuffer()

    @property
    def stays(self) -> bool:
        """Whether the child will take another job."""
        return self.state in (ChildState.STARTING, ChildState.IDLE, ChildState.BUSY)

    def take(self, job: ChildJob) -> None:
        self.job = job
        self.state = ChildState.BUSY

    def no_more_jobs(self) -> None:
        """Note that the child ends once its job is over. Does nothing to a dead child."""
        if self.state is not ChildState.DEAD:
            self.state = ChildState.ENDING

    def send_signal(self, signum: int) -> None:
        """Send a signal to the child, unless it is dead."""
        if self.pid is not None and self.state is not ChildState.DEAD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def terminate(self, signum: int) -> None:
        """End the child with a signal. If its job can't be interrupted just now, the child ends after its job."""
        if signum in messages.END_SIGNALS:
            self.no_more_jobs()
            with contextlib.suppress(OSError):  # a full socket: the child is killed when its time is up
                self.sock.send(messages.packed(messages.END))
        self.send_signal(signum)

    def end_when_idle(self) -> None:
        """Let the child end once it has no job: its socket says that no more will come."""
        self.no_more_jobs()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def receive(self) -> bool:
        """Read some of what the child has sent; return False if it will send no more.

        Raises `BlockingIOError`, as sockets do, if there is nothing to read just now.
        """
        try:
            data = self.sock.recv(_CHUNK)
        except ConnectionError:
            return False
        self._buffer.add(data)
        return bool(data)

    def take_messages(self) -> list[tuple[bytes, bytes]]:
        """Return kind and payload of every complete message that was received."""
        return self._buffer.take_messages()

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def close_sockets(self) -> None:
        """Close both ends. While a job is still being sent, only shut the worker's end down: that wakes the sender."""
        self.childs_end.close()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        if self.job is None:
            self.sock.close()
