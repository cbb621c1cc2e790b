"""Delete or release outbox rows after their transactions have committed, off the requests' threads."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
import weakref

from sqlalchemy.exc import SQLAlchemyError

from ..exceptions import ImproperlyConfigured
from ..log_lines.text_safety import one_line
from ..log_lines.throttled_log import ThrottledLog
from ..transactions.inherited_connections import leave_connections
from .store import Store

log = logging.getLogger(__name__)

LAST_ROWS = 2.0
"""Seconds that an ending process takes to delete its last rows. A relay deletes the others."""
JOBS_PER_ROUND = 500
IDLE = 60.0
"""Seconds without a job after which the thread ends."""


class Sweeper:
    """Deletes rows whose messages the server has accepted, many in one statement. Releases other rows to a relay.

    It has one thread, which starts at the first job, and again in a forked process. A failure here loses nothing. The
    row becomes due soon by itself, and a relay that finds its messages started already deletes it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._failed = ThrottledLog(log, logging.WARNING)
        self._start_anew()
        _known.add(self)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[int, str | None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._has_connected = False
        self._pending = 0
        self._idle = threading.Condition()

    def delete(self, ids: list[int]) -> None:
        """Delete these rows soon."""
        self._put([(row_id, None) for row_id in ids])

    def release(self, ids: list[int], reason: str) -> None:
        """Let a relay claim these rows soon; `reason` says why they were not sent."""
        self._put([(row_id, reason) for row_id in ids])

    def flush(self, timeout: float) -> bool:
        """Wait until all jobs are done. Return False if the timeout ends first."""
        with self._idle:
            return self._idle.wait_for(lambda: self._pending == 0, timeout)

    def _put(self, jobs: list[tuple[int, str | None]]) -> None:
        with self._idle:
            self._pending += len(jobs)
        for job in jobs:
            self._jobs.put(job)
        with self._lock:
            if self._thread is None:
                self._has_connected = True
                self._thread = threading.Thread(target=self._run, name="ptemporal-outbox", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                jobs = [self._jobs.get(timeout=IDLE)]
            except queue.Empty:
                with self._lock:
                    if self._jobs.empty():
                        self._thread = None
                        return
                continue
            while len(jobs) < JOBS_PER_ROUND and not self._jobs.empty():
                jobs.append(self._jobs.get())
            try:
                self._do(jobs)
            except (SQLAlchemyError, ImproperlyConfigured) as error:
                said = one_line(" ".join(str(error).split()))
                self._failed.say("%d rows of the outbox are left to a relay: %s", said, count=len(jobs))
            except Exception:
                log.exception("rows of the outbox are left to a relay, because of an unexpected error")
            finally:
                with self._idle:
                    self._pending -= len(jobs)
                    self._idle.notify_all()

    def _do(self, jobs: list[tuple[int, str | None]]) -> None:
        self._store.delete(sorted(row_id for row_id, reason in jobs if reason is None))
        left: dict[str, list[int]] = {}
        for row_id, reason in jobs:
            if reason is not None:
                left.setdefault(reason, []).append(row_id)
        for reason, ids in left.items():
            self._store.release(sorted(ids), reason)

    def forked(self) -> None:
        """Start afresh in a forked process: the thread is missing there, and the connection belongs to the parent."""
        if self._has_connected:
            leave_connections(self._store.engine)
        self._start_anew()


_known: weakref.WeakSet[Sweeper] = weakref.WeakSet()


def _forked() -> None:
    for sweeper in list(_known):
        sweeper.forked()


def flush_all() -> None:
    """Wait up to `LAST_ROWS` seconds for all sweepers, before this process ends."""
    until = time.monotonic() + LAST_ROWS
    for sweeper in list(_known):
        sweeper.flush(max(0.0, until - time.monotonic()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
atexit.register(flush_all)
