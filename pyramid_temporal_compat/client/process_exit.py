"""End a process of ours while threads of the client library still run.

These threads call into Python. While the interpreter shuts down, such a call sometimes crashes it, after all work is
done: "PyGILState_Release: thread state … must be current when releasing", exit code -6. A service manager takes the
exit code for a failure. So the functions here do everything that an interpreter does at its end, except its last step.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def exit_after_threads(code: int) -> NoReturn:
    """End the process with this exit code, after its non-daemon threads have ended."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for non-daemon threads
    exit_at_once(code)


def exit_at_once(code: int) -> NoReturn:
    """End the process with this exit code, without waiting for any thread. Run the `atexit` functions first."""
    atexit._run_exitfuncs()  # also the application's own, which may still have data to send
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with suppress(Exception):
            stream.flush()  # type: ignore[union-attr]
    os._exit(code)
