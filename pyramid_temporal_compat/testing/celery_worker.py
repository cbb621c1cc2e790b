"""Runs a worker on a thread of the test's process; Celery's `celery.contrib.testing.worker`."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from temporalio.client import Client

from ..app import Celery
from ..celery_names.lists import split_names
from ..celery_names.nodenames import anon_nodename
from ..client.connection import Loop
from ..results.join_guard import allow_join_result
from ..signals import Signal
from ..worker.celery_options import notices
from ..worker.first_connection import checked_client
from ..worker.pools.pool_choice import POOLS, pool_name
from ..worker.program import PASSED_ON, chosen_queues
from ..worker.worker import Worker
from .celery_app import ping

WORKER_LOGLEVEL: str | int = os.environ.get("WORKER_LOGLEVEL", "error")

test_worker_starting = Signal(name="test_worker_starting")
test_worker_started = Signal({"worker", "consumer"}, name="test_worker_started")
test_worker_stopped = Signal({"worker"}, name="test_worker_stopped")
for _signal in (test_worker_starting, test_worker_started, test_worker_stopped):
    _signal.__test__ = False  # type: ignore[attr-defined]  # pytest would collect them, because of their names

STARTS_WITHIN = 30.0
"""Seconds in which a worker must reach its server and be ready."""


class TestWorkController(Worker):
    """A worker that runs on a thread, and whose start a test can wait for."""

    __test__ = False

    def __init__(
        self,
        app: Celery,
        concurrency: int | None = None,
        hostname: str | None = None,
        pool: Any = "solo",
        queues: str | Sequence[str] | None = None,
        exclude_queues: str | Sequence[str] | None = None,
        loglevel: Any = None,
        logfile: Any = None,
        **options: Any,
    ) -> None:
        for _ in notices(options):  # raises for unknown options; a test needs no notice of options without effect
            pass
        app.amqp.queues.select(split_names(queues))
        app.amqp.queues.deselect(split_names(exclude_queues))
        concurrency = concurrency or 1
        super().__init__(
            app,
            queues=chosen_queues(app, hostname or ""),
            concurrency=concurrency,
            pool=in_this_process(pool, concurrency),
            hostname=hostname or anon_nodename(),
            **{name: options[name] for name in PASSED_ON if options.get(name) is not None},
        )
        self.loglevel, self.logfile = loglevel, logfile
        self.error: BaseException | None = None
        """The exception that ended the worker's thread."""
        self._on_started = threading.Event()
        self._thread_loop: asyncio.AbstractEventLoop | None = None
        self.on_ready = lambda: self.on_consumer_ready(self)

    def start(self) -> None:
        """Run in this thread until `stop` is called."""
        # This loop's clock is real even if a test has frozen the time, because heartbeats must go on.
        loop = self._thread_loop = Loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._serve_pool())
        except BaseException as error:
            self.error = error
        finally:
            self._on_started.set()
            loop.run_until_complete(loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            loop.close()

    async def _serve_pool(self) -> None:
        self.start_pool()
        try:
            await self.serve()
        finally:
            self.pool.kill()

    async def first_client(self) -> Client:
        """Connect at once, or raise: a test does not wait for a server."""
        return await checked_client(self.app, self.hostname)

    def on_consumer_ready(self, consumer: Any) -> None:
        """Note that the worker takes tasks. Called on the worker's thread."""
        self._on_started.set()
        test_worker_started.send(sender=self.app, worker=self, consumer=consumer)

    def ensure_started(self) -> None:
        """Wait until the worker takes tasks. Raises the error if it can't."""
        if not self._on_started.wait(STARTS_WITHIN):
            raise RuntimeError(f"the worker {self.hostname} was not ready within {STARTS_WITHIN:g} s")
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Take no new tasks, and end once the running tasks have ended. May be called on any thread."""
        self._call_on_loop(super().stop)

    def terminate(self) -> None:
        """End at once. May be called on any thread."""
        self._call_on_loop(self.stop_now)

    def _call_on_loop(self, function: Any) -> None:
        loop = self._thread_loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(function)


@contextmanager
def start_worker(
    app: Celery,
    concurrency: int = 1,
    pool: str = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: str | None = None,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0,
    WorkController: Any = TestWorkController,
    **options: Any,
) -> Iterator[Any]:
    """While this lasts, run a worker for `app`, and make `app` the current app."""
    test_worker_starting.send(sender=app)
    worker = None
    try:
        setup_app_for_worker(app, loglevel, logfile)
        worker = WorkController(
            app=app, concurrency=concurrency, pool=pool, loglevel=loglevel, logfile=logfile, **options
        )
        thread = threading.Thread(target=worker.start, name=worker.hostname, daemon=True)
        thread.start()
        try:
            worker.ensure_started()
            if perform_ping_check:
                _check(app, worker, ping_task_timeout)
            yield worker
        finally:
            _end(worker, thread, shutdown_timeout)
        if worker.error is not None:
            raise worker.error
    finally:
        test_worker_stopped.send(sender=app, worker=worker)


def _check(app: Celery, worker: Any, timeout: float) -> None:
    with allow_join_result():
        answer = app.tasks[ping.name].apply_async(queue=worker.queues[0]).get(timeout=timeout)
    if answer != "pong":
        raise RuntimeError(f"the worker {worker.hostname} answered {answer!r} to its first task, not 'pong'")


def _end(worker: Any, thread: threading.Thread, timeout: float) -> None:
    worker.stop()
    thread.join(timeout)
    if not thread.is_alive():
        return
    running = ", ".join(sorted(f"{taken.job.message.task}[{id}]" for id, taken in worker.tasks.running.items()))
    worker.terminate()
    raise RuntimeError(
        f"the worker {worker.hostname} did not end within {timeout:g} s; it runs {running or 'no task'}; "
        "raise shutdown_timeout if its tasks take longer"
    )


def setup_app_for_worker(app: Celery, loglevel: str | int, logfile: str | None) -> None:
    """Prepare an app for a worker: finalize it, make it current and set up its logging."""
    app.finalize()
    app.set_current()
    app.set_default()
    app.log.setup(loglevel=loglevel, logfile=logfile)


def in_this_process(pool: Any, concurrency: int) -> str:
    """Return the pool for a worker on a thread. Threads replace prefork, because a process with threads can't fork."""
    name = pool_name(pool)
    if not POOLS[name].forks:
        return name
    return "solo" if concurrency == 1 else "threads"
