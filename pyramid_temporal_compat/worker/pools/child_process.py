"""The code that runs in a child process of the pool `prefork`.

The child's main thread takes one job at a time from the child's socket, and calls the handler with it. `prefork.py`
explains the messages.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

from pyramid_temporal_compat.exceptions import NotSerializable, SoftTimeLimitExceeded, TaskStopped
from pyramid_temporal_compat.task.trace import OnExit, PoolProcess
from pyramid_temporal_compat.worker.pools import prefork_messages as messages
from pyramid_temporal_compat.worker.pools.pool import Handler
from pyramid_temporal_compat.worker.pools.zygote import flush

log = logging.getLogger(__name__)

T = TypeVar("T")


class _RunningJob:
    """The job that this child runs now. It is the handler's `JobControl`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._over = False
        self.interrupted = False
        """Whether the job was stopped inside its interruptible part, and so has no outcome."""
        self._main_thread = threading.get_ident()
        # The next four belong to the main thread. Signals are handled on it too, so they need no lock.
        self._interruptible = False
        self._soft_limit_due = False
        self._stop_due = False
        self._sending_a_message = False

    def note(self, value: Any) -> None:
        self._send(messages.NOTE, pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

    def interruptible(self, function: Callable[[], T]) -> T:
        try:
            self._interruptible = True
            self._raise_if_due()
            outcome = function()
        finally:
            self._interruptible = False
        if self._stop_due:
            self._raise_if_due()  # the function caught the exception: a stopped job must not commit
        return outcome

    def soft_limit_passed(self) -> None:
        """Raise `SoftTimeLimitExceeded` now, or as soon as the job can be interrupted."""
        self._soft_limit_due = True
        if self._interruptible and not self._sending_a_message:
            self._raise_if_due()

    def stop(self) -> None:
        """Raise `TaskStopped` now, or as soon as the job can be interrupted."""
        self._stop_due = True
        if self._interruptible and not self._sending_a_message:
            self._raise_if_due()

    def begin(self) -> None:
        """Tell the worker that the handler begins."""
        self._send(messages.BEGUN)

    def end(self, outcome: Any, error: Exception | None) -> None:
        """Tell the worker how the job ended."""
        self._send(messages.OUTCOME, _packed_outcome(outcome, error))
        with self._sending:
            self._over = True  # a thread that the task has left running sends no more notes

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        on_main_thread = threading.get_ident() == self._main_thread
        try:
            if on_main_thread:
                self._sending_a_message = True  # half a message would spoil every later message
            with self._sending:
                if not self._over:
                    self._sock.sendall(messages.packed(kind, payload))
        finally:
            if on_main_thread:
                self._sending_a_message = False
        if on_main_thread and self._interruptible:
            self._raise_if_due()

    def _raise_if_due(self) -> None:
        if self._stop_due:
            self.interrupted = True
            raise TaskStopped
        if self._soft_limit_due:
            self._soft_limit_due = False
            raise SoftTimeLimitExceeded


class _Signals:
    """Handles the signals that a child gets, as Celery's children do, with two differences.

    No signal interrupts a commit. And the child ignores a SIGTERM, SIGHUP or SIGQUIT unless the worker has sent `END`
    too. Without `END`, the signal went to the whole process group, as a service manager sends it. Then the worker ends
    its children, once their jobs are done.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.job: _RunningJob | None = None
        self.ended_by: int | None = None
        """The signal that ends this child."""
        self._reading_a_job = False
        self._undecided: int | None = None
        """A signal that came while unread bytes stood before a possible `END`. It is decided on once they are read."""
        for signum in (*messages.END_SIGNALS, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def install(self) -> None:
        """Install the handlers: from now on a signal stops a job, and not the start of the child."""
        signal.signal(messages.SOFT_LIMIT_SIGNAL, self._on_soft_limit)
        for signum in messages.END_SIGNALS:
            signal.signal(signum, self._on_end_signal)

    def end_as_signalled(self) -> None:
        """Die by the signal that ended this child, so that the zygote can report which signal it was."""
        if self.ended_by is not None:
            flush()
            signal.signal(self.ended_by, signal.SIG_DFL)
            os.kill(os.getpid(), self.ended_by)

    def _on_soft_limit(self, signum: int, frame: FrameType | None) -> None:
        if self.job is not None:
            self.job.soft_limit_passed()

    @contextlib.contextmanager
    def reading_a_job(self) -> Iterator[None]:
        """While this lasts, signals are not decided on: a job may hold any byte, the byte of `END` too."""
        self._reading_a_job = True
        yield
        self._reading_a_job = False
        if self._undecided is not None:
            signum, self._undecided = self._undecided, None
            self._decide(signum)

    def _on_end_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._reading_a_job:
            self._undecided = signum
        else:
            self._decide(signum)

    def _decide(self, signum: int) -> None:
        """End if the next message is `END`, or if the worker is dead. Else ignore the signal, or wait for the job."""
        with contextlib.suppress(BlockingIOError):
            next_byte = self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            if next_byte in (messages.END, b""):
                self._end(signum)
            elif self.job is None:
                self._undecided = signum

    def _end(self, signum: int) -> None:
        self.ended_by = signum
        if self.job is None:
            raise SystemExit
        self.job.stop()


def serve(
    sock: socket.socket,
    handler: Handler,
    on_start: Callable[[], None] | None,
    on_exit: OnExit | None,
) -> int:
    """Run jobs until the worker closes its end of the socket. Return the process's exit code."""
    signals = _Signals(sock)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()  # after a fork numpy, unlike `random`, continues from its parent's state
    try:
        if on_start is not None:
            on_start()
    except BaseException:
        sock.sendall(messages.packed(messages.NOT_STARTED, traceback.format_exc().encode()))
        return 1
    signals.install()
    process = PoolProcess(lambda do_exit: _run_until_told_to_end(sock, handler, do_exit, signals), on_exit)
    code = process.workloop()
    signals.end_as_signalled()
    return code


def _run_until_told_to_end(sock: socket.socket, handler: Handler, on_exit: OnExit, signals: _Signals) -> int:
    code = 0
    try:
        sock.sendall(messages.packed(messages.READY, b"%d" % os.getpid()))
        _serve_jobs(sock, handler, signals)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except ConnectionError:
        log.debug("the worker is dead: its child process ends", exc_info=True)
    except BaseException:
        log.exception("a child process of the pool ends because of an error")
        code = 1
    try:
        on_exit(os.getpid(), code)
    except BaseException:
        log.exception("worker_process_shutdown, or another hook at the end of a child process, failed")
    return code


def _serve_jobs(sock: socket.socket, handler: Handler, signals: _Signals) -> None:
    while len(header := _read(sock, messages.HEADER.size)) == messages.HEADER.size:
        kind, size = messages.HEADER.unpack(header)
        if kind == messages.END:
            return
        with signals.reading_a_job():
            payload = _read(sock, size)
        if len(payload) < size:  # the worker died while it sent the job
            return
        job = signals.job = _RunningJob(sock)
        job.begin()
        outcome, error = None, None
        try:
            outcome = handler(pickle.loads(payload), job)
        except Exception as exc:
            error = exc
        if job.interrupted:
            return
        job.end(outcome, error)
        signals.job = None
        del payload, outcome, error, job  # an idle child keeps no object of its last job alive
        if signals.ended_by is not None:
            return


def _read(sock: socket.socket, size: int) -> bytes:
    """Return exactly `size` bytes, so that a following `END` stays unread. Return fewer if the socket has ended."""
    data = bytearray()
    while len(data) < size and (piece := sock.recv(min(size - len(data), 1 << 20))):
        data += piece
    return bytes(data)


def _packed_outcome(outcome: Any, error: Exception | None) -> bytes:
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rss_kib = rss // 1024 if sys.platform == "darwin" else rss
    try:
        if error is None:
            return pickle.dumps((rss_kib, outcome, None, ""), pickle.HIGHEST_PROTOCOL)
        pickle.loads(pickle.dumps(error))  # many exceptions can be pickled, and not unpickled
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return pickle.dumps((rss_kib, None, error, text), pickle.HIGHEST_PROTOCOL)
    except Exception as exc:
        what = "outcome" if error is None else "exception"
        kind = type(outcome if error is None else error)
        refusal = NotSerializable(
            f"the {what} of a job, of type {kind.__module__}.{kind.__qualname__}, can't be sent from the child process "
            f"to the worker: {exc}; return a value that pickle can write and read"
        )
        return pickle.dumps((rss_kib, None, refusal, ""), pickle.HIGHEST_PROTOCOL)
