"""The guard process of `dev`: ends the server, the site and the worker if `dev` itself was killed.

Run it as a script: `python -I -S dev_guard.py`. `dev` writes the pid of each part, which leads a process group, to the
guard's stdin. `kill -9`, or a terminal that is closed, leaves `dev` no chance to end its parts. Then the pipe ends, and
the guard does it. The parts do not inherit the pipe, so its end always means the end of `dev`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence

GRACE = 5.0
"""Seconds that the parts have to end after SIGTERM."""
LOOK_EVERY = 0.1


def end_all(leaders: Sequence[int]) -> None:
    """End the process groups with these leaders: with SIGTERM to the leaders, and then with SIGKILL to all."""
    for leader in leaders:
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGTERM)
    until = time.monotonic() + GRACE
    while any(map(is_there, leaders)) and time.monotonic() < until:
        time.sleep(LOOK_EVERY)
    for leader in leaders:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def is_there(group: int) -> bool:
    """Return whether a process group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # one of another user
        pass
    return True


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_all([int(line) for line in sys.stdin])
