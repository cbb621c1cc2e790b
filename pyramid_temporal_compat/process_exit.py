"""The end of a process that is ours, with the threads of the client library still at work.

They call into Python. While an interpreter ends they crash it now and then, after all is done: "PyGILState_Release:
thread state … must be current when releasing", exit code -6, which a service manager takes for a failure.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def leave_in_order(code: int) -> NoReturn:
    """End as an interpreter does, but for its last step: it is not taken apart."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads that are no daemons
    leave(code)


def leave(code: int) -> NoReturn:
    """The same, waiting for no thread."""
    atexit._run_exitfuncs()  # the application's too: what it has gathered leaves with it
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with suppress(Exception):
            stream.flush()  # type: ignore[union-attr]
    os._exit(code)
