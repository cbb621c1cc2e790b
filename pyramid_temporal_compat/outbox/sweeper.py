"""What a web process does to rows once their transactions have committed, off the requests' threads."""

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
from ..text_safety import one_line
from ..throttled_log import ThrottledLog
from ..worker.pools.child_setup import leave_connections
from .store import Store

log = logging.getLogger(__name__)

LAST_ROWS = 2.0
"""Seconds that a process that ends takes to delete the last rows. What it does not, a relay does."""
AT_ONCE = 500
IDLE = 60.0
"""Seconds after which the thread ends if there is nothing to do."""


class Sweeper:
    """Deletes rows whose messages the server has, several in one statement, and leaves the others to a relay.

    One thread, started when it is first needed, and anew in a forked process. What fails here is no loss: the row is
    due soon by itself, and a relay that finds its messages started deletes it.
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
        self._put([(row_id, None) for row_id in ids])

    def release(self, ids: list[int], reason: str) -> None:
        self._put([(row_id, reason) for row_id in ids])

    def flush(self, timeout: float) -> bool:
        """Wait until all has been done; False if it was not in time."""
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
            while len(jobs) < AT_ONCE and not self._jobs.empty():
                jobs.append(self._jobs.get())
            try:
                self._do(jobs)
            except (SQLAlchemyError, ImproperlyConfigured) as error:
                said = one_line(" ".join(str(error).split()))
                self._failed.say("%d rows of the outbox are left as they are for a relay: %s", said, count=len(jobs))
            except Exception:
                log.exception("rows of the outbox are left as they are for a relay")
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
        """In a new process: the thread does not exist here, and its connection is the parent's."""
        if self._has_connected:
            leave_connections(self._store.engine)
        self._start_anew()


_known: weakref.WeakSet[Sweeper] = weakref.WeakSet()


def _forked() -> None:
    for sweeper in list(_known):
        sweeper.forked()


def flush_all() -> None:
    """Before this process ends."""
    until = time.monotonic() + LAST_ROWS
    for sweeper in list(_known):
        sweeper.flush(max(0.0, until - time.monotonic()))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
atexit.register(flush_all)
