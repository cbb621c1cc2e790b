"""The process from which the pool `prefork` forks its children.

It is forked from the worker before that starts any thread, and starts none itself. A fork copies only the
thread that calls it, so a child of a process with threads (the Temporal runtime's, say) could inherit a
lock that no thread is left to release. The worker asks it for a child by sending one end of the child's
socket, and is told when the child was forked and how it ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import logging
import os
import select
import signal
import socket
import struct
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

log = logging.getLogger(__name__)

REQUEST = struct.Struct("!I")
REPORT = struct.Struct("!cIii")
FORKED, ENDED = b"F", b"E"

_SHIELDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True)
class Report:
    kind: bytes
    number: int
    pid: int
    status: int
    """An exit code, or the negative number of the signal that ended the child."""


class Zygote:
    """The worker's end of it."""

    def __init__(self, serve: Callable[[socket.socket], int], before_fork: Callable[[], None] | None) -> None:
        others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
        if others:
            log.warning(
                "the pool forks while this process has other threads (%s): they do not exist in its children, and a "
                "lock that one of them holds now stays locked there; start threads in worker_process_init instead",
                ", ".join(others),
            )
        self.sock, theirs = socket.socketpair()
        parent = os.getpid()
        flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # what Python 3.12 says of threads was said above
            self.pid = os.fork()
        if not self.pid:
            self.sock.close()
            _in_new_process(lambda: _attend(theirs, serve, before_fork), parent)
        theirs.close()
        self.sock.setblocking(False)
        self._received = b""
        self._ended = False

    def ask_for_child(self, number: int, sock: socket.socket) -> None:
        socket.send_fds(self.sock, [REQUEST.pack(number)], [sock.fileno()])

    def reports(self) -> list[Report] | None:
        """What it has told since; None if it is no more."""
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return []
        except ConnectionError:
            return None
        if not data:
            return None
        self._received += data
        whole = len(self._received) // REPORT.size * REPORT.size
        told, self._received = self._received[:whole], self._received[whole:]
        return [Report(*fields) for fields in REPORT.iter_unpack(told)]

    def end(self) -> None:
        if self._ended:  # and reaped, so that its id may be another's by now
            return
        self._ended = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def flush() -> None:
    """Write out what was printed: before a fork, lest both print it, and before an end that does not."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _in_new_process(body: Callable[[], int], parent: int) -> NoReturn:
    """Run `body` and end, never to return into the code that forked."""
    code = 1
    try:
        _die_with(parent)
        code = body()
    except BaseException:
        log.exception("a process of the pool failed")
    finally:
        flush()
        os._exit(code & 0xFF)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def _attend(
    worker: socket.socket, serve: Callable[[socket.socket], int], before_fork: Callable[[], None] | None
) -> int:
    for signum in _SHIELDED:
        signal.signal(signum, signal.SIG_IGN)  # it ends when the worker does, not before
    with open(os.devnull, "rb") as devnull:
        os.dup2(devnull.fileno(), 0)
    wakeup, child_ended = socket.socketpair()
    wakeup.setblocking(False)
    child_ended.setblocking(False)
    signal.set_wakeup_fd(child_ended.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    gc.freeze()  # a collection in a child would write to, and so copy, every page that it shares

    def in_child(sock: socket.socket) -> int:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for inherited in (worker, wakeup, child_ended):
            inherited.close()
        return serve(sock)

    with worker, wakeup, child_ended:
        _fork_on_request(worker, wakeup, in_child, before_fork)
        signal.set_wakeup_fd(-1)
    return 0


def _fork_on_request(
    worker: socket.socket,
    wakeup: socket.socket,
    in_child: Callable[[socket.socket], int],
    before_fork: Callable[[], None] | None,
) -> None:
    children: dict[int, int] = {}
    try:
        while True:
            readable = select.select([worker, wakeup], [], [])[0]
            if wakeup in readable:
                wakeup.recv(4096)
                _report_ended(worker, children)
            if worker not in readable:
                continue
            request, fds, _, _ = socket.recv_fds(worker, REQUEST.size, 1)
            if not request:
                return
            number = REQUEST.unpack(request)[0]
            with socket.socket(fileno=fds[0]) as sock:
                pid = _fork(functools.partial(in_child, sock), before_fork)
            if pid:
                children[pid] = number
                worker.sendall(REPORT.pack(FORKED, number, pid, 0))
            else:
                worker.sendall(REPORT.pack(ENDED, number, 0, 1))
    except ConnectionError:
        return
    finally:
        # The worker is no more: what its children still did would be done again by another worker.
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def _fork(body: Callable[[], int], before_fork: Callable[[], None] | None) -> int:
    zygote = os.getpid()
    try:
        if before_fork is not None:
            before_fork()
        flush()
        pid = os.fork()
    except Exception:
        log.exception("the pool could not fork a child process")
        return 0
    if not pid:
        _in_new_process(body, zygote)
    return pid


def _report_ended(worker: socket.socket, children: dict[int, int]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            worker.sendall(REPORT.pack(ENDED, children.pop(pid), pid, os.waitstatus_to_exitcode(status)))
