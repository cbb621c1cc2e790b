"""The messages of the pool `prefork`: between the worker and its children, and between the worker and the zygote.

A message between worker and child is a header (kind and size) and a payload. `prefork.py` says who sends which message
when. A request to the zygote is a number with one end of a socket; a report from the zygote has a fixed size.
"""

from __future__ import annotations

import signal
import struct
from dataclasses import dataclass

# --- worker to child, over the child's socket ---

JOB = b"J"
"""Run this job. The payload is the pickled job."""
END = b"T"
"""End now, if a signal of `END_SIGNALS` comes as well. No payload."""

# --- child to worker, over the same socket ---

READY = b"R"
"""The child has started and can take a job. The payload is its pid."""
NOT_STARTED = b"X"
"""The child could not start, and exits. The payload is a traceback as text."""
BEGUN = b"B"
"""The handler begins: the job's limits count from now. No payload."""
NOTE = b"N"
"""The handler reports progress. The payload is the pickled value."""
OUTCOME = b"E"
"""The job has ended. The payload is a pickle of memory in KiB, outcome, exception, and the exception's traceback."""

HEADER = struct.Struct("!cQ")

SOFT_LIMIT_SIGNAL = signal.SIGUSR1
"""Tells a child that the soft limit of its job has passed."""
END_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end a child, provided that the worker has also sent `END`."""


def packed(kind: bytes, payload: bytes = b"") -> bytes:
    """Return one message as bytes."""
    return HEADER.pack(kind, len(payload)) + payload


class MessageBuffer:
    """Collects the bytes that a socket received, and splits them into messages."""

    def __init__(self) -> None:
        self._received = bytearray()

    def add(self, data: bytes) -> None:
        self._received += data

    def take_messages(self) -> list[tuple[bytes, bytes]]:
        """Remove every complete message from the buffer; return kind and payload of each."""
        found = []
        start = 0
        while len(self._received) - start >= HEADER.size:
            kind, size = HEADER.unpack_from(self._received, start)
            end = start + HEADER.size + size
            if len(self._received) < end:
                break
            with memoryview(self._received) as received:
                found.append((kind, bytes(received[start + HEADER.size : end])))
            start = end
        del self._received[:start]
        return found


# --- worker and zygote, over the zygote's socket ---

FORK_REQUEST = struct.Struct("!I")
"""Worker to zygote: fork a child with this number. The child's end of its socket travels with the request."""
REPORT = struct.Struct("!cIii")
"""Zygote to worker: the fields of a `Report`."""
CHILD_FORKED, CHILD_EXITED = b"F", b"E"
"""The kinds of a report."""


@dataclass(frozen=True)
class Report:
    """What the zygote says about one child."""

    kind: bytes
    number: int
    pid: int
    status: int
    """The child's exit code, or the negative number of the signal that ended it."""
