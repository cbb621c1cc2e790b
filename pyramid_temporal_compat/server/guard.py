"""Runs one server and ends it when the process that asked for it is gone, however that process ended.

Run as a script: `python -I -S server_guard.py PARENT_PID COMMAND…`. It is a process of its own because
`kill -9` leaves the parent no chance to clean up. It compares its parent's pid twice a second rather than
use what looks simpler: Linux's "signal on parent's death" fires when the *thread* that forked ends, and the
end of a pipe is not seen while a forked child of the parent still holds the other end.
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
LOOK_EVERY = 0.5
GRACE = 10.0


def guard(parent: int, command: Sequence[str]) -> int:
    """Run `command` until it ends, a signal comes, or `parent` is no longer our parent; return its exit code."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    asked_to_stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: asked_to_stop.append(received))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        # close_fds=False: the server must inherit the lock on its state file, so that the lock ends with it.
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=False)
    except OSError as error:
        print(f"Error: can't run {command[0]}: {error.strerror}", flush=True)
        return 127
    try:
        # The parent may be gone already; then nobody reads this, and the loop below ends at once.
        with contextlib.suppress(BrokenPipeError):
            print(f"{PID_LINE}{server.pid}", flush=True)
        while server.poll() is None and not asked_to_stop and os.getppid() == parent:
            if select.select([wake_read], [], [], LOOK_EVERY)[0]:
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
    # Nothing is left to flush, and a closed stdout must not turn the exit into a traceback.
    os._exit(code)
