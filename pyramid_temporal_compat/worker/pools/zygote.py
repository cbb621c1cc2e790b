"""The zygote: the process from which the pool `prefork` forks its children.

The worker forks the zygote before it starts any thread, and the zygote starts no thread either. The reason: a fork
copies only the thread that calls it. A child of a process with threads (the Temporal runtime's, for example) could
inherit a lock that no thread is left to release.

To ask for a child, the worker sends the zygote one end of the child's socket. The zygote reports when it has forked
the child, and how the child ended.
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
import sys
import threading
import warnings
from collections.abc import Callable
from typing import NoReturn

from pyramid_temporal_compat.worker.pools.prefork_messages import (
    CHILD_EXITED,
    CHILD_FORKED,
    FORK_REQUEST,
    REPORT,
    Report,
)

log = logging.getLogger(__name__)

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def runs_under_reloader() -> bool:
    """Return whether `worker --reload` runs this process. Hupper's threads hold no lock that a task could want."""
    hupper = sys.modules.get("hupper")
    return hupper is not None and bool(hupper.is_active())


class Zygote:
    """The zygote, as the worker sees it."""

    def __init__(self, serve: Callable[[socket.socket], int], before_fork: Callable[[], None] | None) -> None:
        """Fork the zygote.

        :param serve: runs a child's life in the child, with the child's end of its socket; returns its exit code.
        :param before_fork: called in the zygote, before every fork.
        """
        others = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
        if others and not runs_under_reloader():
            log.warning(
                "the pool forks while this process has other threads (%s): its children do not have these threads, "
                "and a lock that a thread holds now stays locked there; start threads in worker_process_init instead",
                ", ".join(others),
            )
        self.sock, zygotes_end = socket.socketpair()
        parent = os.getpid()
        flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about threads, on Python 3.12: logged above
            self.pid = os.fork()
        if not self.pid:
            self.sock.close()
            _in_new_process(lambda: _run_zygote(zygotes_end, serve, before_fork), parent)
        zygotes_end.close()
        self.sock.setblocking(False)
        self._received = b""
        self._ended = False

    def ask_for_child(self, number: int, sock: socket.socket) -> None:
        """Ask the zygote to fork the child with this number, and give it the child's end of its socket."""
        socket.send_fds(self.sock, [FORK_REQUEST.pack(number)], [sock.fileno()])

    def reports(self) -> list[Report] | None:
        """Return the reports that came since the last call; None if the zygote is dead."""
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
        complete, self._received = self._received[:whole], self._received[whole:]
        return [Report(*fields) for fields in REPORT.iter_unpack(complete)]

    def end(self) -> None:
        """Kill and reap the zygote. Its children die with it."""
        if self._ended:  # it was reaped, and its pid may be another process's by now
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
    """Flush stdout and stderr: before a fork, so that only one process prints the text, and before `os._exit`."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _in_new_process(body: Callable[[], int], parent: int) -> NoReturn:
    """Run `body` and exit. Never return into the code that forked."""
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
    """Have the kernel kill this process when its parent dies."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the line above
        os._exit(1)


def _run_zygote(
    worker: socket.socket, serve: Callable[[socket.socket], int], before_fork: Callable[[], None] | None
) -> int:
    for signum in _IGNORED:
        signal.signal(signum, signal.SIG_IGN)  # the zygote ends with the worker, not before
    with open(os.devnull, "rb") as devnull:
        os.dup2(devnull.fileno(), 0)
    wakeup, child_ended = socket.socketpair()
    wakeup.setblocking(False)
    child_ended.setblocking(False)
    signal.set_wakeup_fd(child_ended.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    gc.freeze()  # a garbage collection in a child would write to every page that it shares, and so copy it

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
    """Fork a child for each request, and report each exit, until the worker closes its socket or dies."""
    children: dict[int, int] = {}  # pid -> number
    try:
        while True:
            readable = select.select([worker, wakeup], [], [])[0]
            if wakeup in readable:
                wakeup.recv(4096)
                _report_exits(worker, children)
            if worker not in readable:
                continue
            request, fds, _, _ = socket.recv_fds(worker, FORK_REQUEST.size, 1)
            if not request:
                return
            number = FORK_REQUEST.unpack(request)[0]
            with socket.socket(fileno=fds[0]) as sock:
                pid = _fork(functools.partial(in_child, sock), before_fork)
            if pid:
                children[pid] = number
                worker.sendall(REPORT.pack(CHILD_FORKED, number, pid, 0))
            else:
                worker.sendall(REPORT.pack(CHILD_EXITED, number, 0, 1))
    except ConnectionError:
        return
    finally:
        # The worker is dead, so another worker runs its tasks again: the children must not run them too.
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def _fork(body: Callable[[], int], before_fork: Callable[[], None] | None) -> int:
    """Fork a child that runs `body`; return its pid, or 0 if it could not be forked."""
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


def _report_exits(worker: socket.socket, children: dict[int, int]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            worker.sendall(REPORT.pack(CHILD_EXITED, children.pop(pid), pid, os.waitstatus_to_exitcode(status)))
