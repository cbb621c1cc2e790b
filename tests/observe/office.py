"""An app with a few tasks and a worker in this process, for tests of lists, commands and pages."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio.client import Client

from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.observe.task_filter import TaskFilter
from pyramid_temporal_compat.observe.task_list import TaskLister
from pyramid_temporal_compat.observe.task_rows import TaskRow
from tests.control.conftest import RunningWorker
from tests.parts import wait_until

T = TypeVar("T")


class Office:
    """The app, its tasks and its worker. Names and queue are its own, because all tests share one server."""

    def __init__(self, address: str, name: str = "office") -> None:
        self.prefix = f"{name}-{uuid.uuid4().hex[:8]}"
        self.queue = f"{self.prefix}.queue"
        self.app = Celery(name, set_as_current=False)
        self.app.conf.update(ptemporal_address=address, task_default_queue=self.queue)
        self.ran: list[Any] = []
        """What the tasks have noted, in their order."""
        self.seen_headers: dict[str, Any] = {}
        task = self.app.task

        @task(name=f"{self.prefix}.add")
        def add(x: int, y: int = 1) -> int:
            self.ran.append(("add", x, y))
            return x + y

        @task(name=f"{self.prefix}.fails", bind=True)
        def fails(this: Any, what: Any, password: str = "") -> None:
            self.ran.append(("fails", what))
            self.seen_headers[this.request.id] = this.request.headers
            raise LookupError(f"no {what}")

        @task(name=f"{self.prefix}.once", acks_late=False)
        def once(what: Any) -> Any:
            self.ran.append(("once", what))
            return what

        @task(name=f"{self.prefix}.notes")
        def notes(what: Any) -> None:
            self.ran.append(("notes", what))

        self.add, self.fails, self.once, self.notes = add, fails, once, notes
        self.lister = TaskLister()

    def worker(self, **options: Any) -> RunningWorker:
        """Start a worker. The caller stops it."""
        hostname = f"{self.prefix}-{uuid.uuid4().hex[:6]}@test"
        return RunningWorker(self.app, **{"hostname": hostname, "concurrency": 4, **options})

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        return self.app.temporal.call(question, 60)

    def rows(self, **asked: Any) -> list[TaskRow]:
        """Return the tasks of this office's queue that a filter selects."""
        found = TaskFilter(**{"queue": self.queue, **asked})

        async def every(client: Client) -> list[TaskRow]:
            return [row async for row in self.lister.every(client, found)]

        return self.ask(every)

    def listed(self, count: int, **asked: Any) -> list[TaskRow]:
        """Return the tasks that a filter selects, once the server lists so many: its list lags behind by moments."""
        return wait_until(
            lambda: rows if len(rows := self.rows(**asked)) == count else None, 60, f"{count} tasks for {asked}"
        )

    def ended(self, *results: Any) -> None:
        """Return when all these tasks have ended."""
        for result in results:
            wait_until(result.ready, 60, f"the end of {result.id}")
