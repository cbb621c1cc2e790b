"""What a web process keeps between two pages: rows that can't change, and samples of queues for their plots."""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pyramid.request import Request
from sqlalchemy.exc import SQLAlchemyError

from ..app import APP_KEY
from ..exceptions import CeleryError, OperationalError
from ..observe.outbox import store_of
from ..observe.queues import QueueReport
from ..observe.task_list import TaskLister

if TYPE_CHECKING:
    from temporalio.client import Client

    from ..app import Celery
    from ..outbox.store import Store

T = TypeVar("T")

KEY = "pyramid_temporal_compat.board.sources"
FAILURES = (CeleryError, OperationalError, SQLAlchemyError)
"""What asking may raise: a wrong value, a server or a database that does not answer."""
PATIENCE = 15.0
"""Seconds that the server has to answer one question of a page."""
MOST_SAMPLES = 120
SAMPLE_EVERY = 4.0
"""Seconds between two samples of a queue: a page that is open asks every five seconds."""


class QueueSamples:
    """The backlogs of each queue as this process has seen them. Every thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._backlogs: dict[str, deque[int]] = {}
        self._due = 0.0

    def add(self, reports: Sequence[QueueReport]) -> None:
        """Take a sample, unless the last one is too young."""
        now = time.monotonic()
        with self._lock:
            if now < self._due:
                return
            self._due = now + SAMPLE_EVERY
            for report in reports:
                self._backlogs.setdefault(report.name, deque(maxlen=MOST_SAMPLES)).append(report.backlog)

    def of(self, queue: str) -> list[int]:
        """Return the samples of a queue, the oldest first."""
        with self._lock:
            return list(self._backlogs.get(queue, ()))


class Sources:
    """Where the pages of one application get their values."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.process = os.getpid()
        self.lister = TaskLister()
        self.samples = QueueSamples()
        self._store: Store | None = None

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Return what `question` answers, of a client."""
        return self.app.temporal.call(question, PATIENCE)

    def outbox(self) -> Store | None:
        """Return the application's outbox; None if it has none."""
        if self._store is None:
            self._store = store_of(self.app)
        return self._store


def sources_of(request: Request) -> Sources:
    """Return the sources of the request's application. A forked process has its own."""
    registry: Any = request.registry
    found = registry.get(KEY)
    if found is None or found.process != os.getpid():
        found = registry[KEY] = Sources(registry[APP_KEY])
    return found  # type: ignore[no-any-return]


def utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
