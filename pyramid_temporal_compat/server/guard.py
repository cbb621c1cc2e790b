"""The guard process: runs one server, and ends it when the process that started it has ended in any way.

Run it as a script: `python -I -S guard.py PARENT_PID COMMAND…`. The guard is a process of its own because `kill -9`
leaves the parent no chance to clean up. Twice a second it compares its parent's pid with the expected one.

Two simpler ways do not work. Linux's "signal on parent's death" fires when the *thread* that forked ends. The end of
a pipe is not seen while a forked child of the parent still holds the other end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

PID_LINE = "server-guard: started "
CHECK_EVERY = 0.5
"""Seconds between two checks of the parent's pid."""
GRACE = 10.0
"""Seconds that the server has to end after SIGTERM, before the guard kills it."""


def guard(parent: int, command: Sequence[str]) -> int:
    """Run `command` until it ends, a signal comes, or the process `parent` ends. Return the command's exit code."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    asked_to_stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: asked_to_stop.append(received))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        # close_fds=False: the server must inherit the lock on its state file, so that the lock ends with it.
        # umask: the state file and its -wal and -shm hold arguments of tasks, which other users must not read.
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False, umask=0o077)
    except OSError as error:
        print(f"Error: can't run {command[0]}: {error.strerror}", flush=True)
        return 127
    try:
        # The parent may have ended already. Then nobody reads this line, and the loop below ends at once.
        with contextlib.suppress(BrokenPipeError):
            print(f"{PID_LINE}{server.pid}", flush=True)
        while server.poll() is None and not asked_to_stop and os.getppid() == parent:
            if select.select([wake_read], [], [], CHECK_EVERY)[0]:
                os.read(wake_read, 4096)
        if server.poll() is None:
            server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(GRACE)
    finally:
        server.kill()
        server.wait()
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


if __name__ == "__main__":
    code = guard(int(sys.argv[1]), sys.argv[2:])
    # Nothing is left to flush, and with a closed stdout a normal exit would print a traceback.
    os._exit(code)
