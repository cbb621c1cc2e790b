"""In a child process of the pool `prefork`: takes one job at a time from its socket, on its main thread."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

from pyramid_temporal_compat.exceptions import NotSerializable, SoftTimeLimitExceeded, TaskStopped
from pyramid_temporal_compat.task.trace import Worker
from pyramid_temporal_compat.worker.pools.pool import Handler
from pyramid_temporal_compat.worker.pools.zygote import flush

log = logging.getLogger(__name__)

T = TypeVar("T")

HEADER = struct.Struct("!cQ")
JOB, END = b"J", b"T"
READY, NOT_STARTED, BEGUN, NOTE, ENDED = b"R", b"X", b"B", b"N", b"E"

SOFT_LIMIT = signal.SIGUSR1
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""End the child if its parent says so too, with `END` on the socket."""


def packed(kind: bytes, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


class _Job:
    """The job that this child runs; the handler's `JobControl`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._over = False
        self.interrupted = False
        """It was ended within its interruptible part: it has no outcome."""
        self._main_thread = threading.get_ident()
        # These four belong to the main thread, on which signals are handled too, so they need no lock.
        self._armed = False
        self._soft_due = False
        self._end_due = False
        self._in_a_frame = False

    def note(self, value: Any) -> None:
        self._send(NOTE, pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

    def interruptible(self, function: Callable[[], T]) -> T:
        try:
            self._armed = True
            self._raise_what_is_due()
            outcome = function()
        finally:
            self._armed = False
        if self._end_due:
            self._raise_what_is_due()  # the function swallowed it: what was stopped must not be committed
        return outcome

    def soft_limit_passed(self) -> None:
        self._soft_due = True
        if self._armed and not self._in_a_frame:
            self._raise_what_is_due()

    def end_asked(self) -> None:
        self._end_due = True
        if self._armed and not self._in_a_frame:
            self._raise_what_is_due()

    def begin(self) -> None:
        self._send(BEGUN)

    def end(self, outcome: Any, error: Exception | None) -> None:
        self._send(ENDED, _answer(outcome, error))
        with self._sending:
            self._over = True  # a thread that the task left behind has no job to speak of any more

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        on_main_thread = threading.get_ident() == self._main_thread
        try:
            if on_main_thread:
                self._in_a_frame = True  # half a frame would make nonsense of all that follows
            with self._sending:
                if not self._over:
                    self._sock.sendall(packed(kind, payload))
        finally:
            if on_main_thread:
                self._in_a_frame = False
        if on_main_thread and self._armed:
            self._raise_what_is_due()

    def _raise_what_is_due(self) -> None:
        if self._end_due:
            self.interrupted = True
            raise TaskStopped
        if self._soft_due:
            self._soft_due = False
            raise SoftTimeLimitExceeded


class _Signals:
    """What signals do in a child: what they do in Celery's, but for two things.

    None interrupts a commit. And a SIGTERM, SIGHUP or SIGQUIT that the parent knows nothing of is ignored: it went
    to the whole group (a service manager does that), and it is the parent that ends its children, once they are done.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.job: _Job | None = None
        self.ended_by: int | None = None
        self._within_a_job = False
        self._came: int | None = None
        """A signal whose meaning is not known before what stands in front of `END` has been read."""
        for signum in (*ENDING, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def install(self) -> None:
        signal.signal(SOFT_LIMIT, self._on_soft_limit)
        for signum in ENDING:
            signal.signal(signum, self._on_ending)

    def end_as_signalled(self) -> None:
        """Die of the signal that ended this child, so that whoever reaps it sees which."""
        if self.ended_by is not None:
            flush()
            signal.signal(self.ended_by, signal.SIG_DFL)
            os.kill(os.getpid(), self.ended_by)

    def _on_soft_limit(self, signum: int, frame: FrameType | None) -> None:
        if self.job is not None:
            self.job.soft_limit_passed()

    @contextlib.contextmanager
    def reading_a_job(self) -> Iterator[None]:
        """Within a job any byte may stand, that of `END` too."""
        self._within_a_job = True
        yield
        self._within_a_job = False
        if self._came is not None:
            signum, self._came = self._came, None
            self._look(signum)

    def _on_ending(self, signum: int, frame: FrameType | None) -> None:
        if self._within_a_job:
            self._came = signum
        else:
            self._look(signum)

    def _look(self, signum: int) -> None:
        with contextlib.suppress(BlockingIOError):
            next_byte = self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            if next_byte in (END, b""):  # so the parent says, or it is no more
                self._end(signum)
            elif self.job is None:
                self._came = signum

    def _end(self, signum: int) -> None:
        self.ended_by = signum
        if self.job is None:
            raise SystemExit
        self.job.end_asked()


def serve(
    sock: socket.socket,
    handler: Handler,
    on_start: Callable[[], None] | None,
    on_exit: Callable[[int, int], None] | None,
) -> int:
    """Run jobs until the parent closes its end of the socket; returns the process's exit code."""
    signals = _Signals(sock)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()  # numpy, unlike `random`, goes on with its parent's state after a fork
    try:
        if on_start is not None:
            on_start()
    except BaseException:
        sock.sendall(packed(NOT_STARTED, traceback.format_exc().encode()))
        return 1
    signals.install()
    code = Worker(lambda: _live(sock, handler, on_exit, signals)).workloop()
    signals.end_as_signalled()
    return code


def _live(sock: socket.socket, handler: Handler, on_exit: Callable[[int, int], None] | None, signals: _Signals) -> int:
    code = 0
    try:
        sock.sendall(packed(READY, b"%d" % os.getpid()))
        _serve_jobs(sock, handler, signals)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except ConnectionError:
        log.debug("the worker is gone: its child process ends", exc_info=True)
    except BaseException:
        log.exception("a child process of the pool ends")
        code = 1
    if on_exit is not None:
        try:
            on_exit(os.getpid(), code)
        except BaseException:
            log.exception("what was to run as a child process of the pool ends has failed")
    return code


def _serve_jobs(sock: socket.socket, handler: Handler, signals: _Signals) -> None:
    while len(header := _read(sock, HEADER.size)) == HEADER.size:
        kind, size = HEADER.unpack(header)
        if kind == END:
            return
        with signals.reading_a_job():
            payload = _read(sock, size)
        if len(payload) < size:  # the parent died as it sent it
            return
        job = signals.job = _Job(sock)
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
        del payload, outcome, error, job  # a child that waits holds on to nothing
        if signals.ended_by is not None:
            return


def _read(sock: socket.socket, size: int) -> bytes:
    """So many bytes and no more, lest an `END` is taken in with them; fewer if there are no more."""
    data = bytearray()
    while len(data) < size and (piece := sock.recv(min(size - len(data), 1 << 20))):
        data += piece
    return bytes(data)


def _answer(outcome: Any, error: Exception | None) -> bytes:
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rss_kib = rss // 1024 if sys.platform == "darwin" else rss
    try:
        if error is None:
            return pickle.dumps((rss_kib, outcome, None, ""), pickle.HIGHEST_PROTOCOL)
        pickle.loads(pickle.dumps(error))  # many exceptions can be pickled and not be made again
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return pickle.dumps((rss_kib, None, error, text), pickle.HIGHEST_PROTOCOL)
    except Exception as exc:
        what = "outcome" if error is None else "exception"
        kind = type(outcome if error is None else error)
        refusal = NotSerializable(
            f"the {what} of a job, of type {kind.__module__}.{kind.__qualname__}, can't be sent from the child process "
            f"to the worker: {exc}; return a value that pickle takes"
        )
        return pickle.dumps((rss_kib, None, refusal, ""), pickle.HIGHEST_PROTOCOL)
