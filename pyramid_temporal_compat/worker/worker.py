"""The worker: a pool, a connection, and one Temporal worker for each queue."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import FixedSizeSlotSupplier, WorkerTuner
from temporalio.worker import Worker as TemporalWorker

from ..calling import LONGEST_ID
from ..control.receiver import Receiver
from ..dispatch.client import connect
from ..exceptions import ImproperlyConfigured, OperationalError
from ..payload.converter import data_converter
from ..settings import connection
from .activity import TaskActivity
from .pools import Pool
from .runner import Runner
from .slots import Slots
from .solo import SoloPool
from .threads import ThreadPool
from .workflow import TaskWorkflow

if TYPE_CHECKING:
    from ..app import Celery

log = logging.getLogger(__name__)

WORKFLOW_TASKS = 100
"""Workflow tasks at a time: each is a few milliseconds on the event loop, whatever the concurrency of the pool."""
NO_LIMIT = timedelta(days=365)
PROGRESS_INTERVAL = timedelta(seconds=1)
"""How often progress leaves for the server; the client library's own default is half a minute."""
LAST_WORDS = 2.0
"""Seconds that a worker told to end at once takes to give its tasks back."""

POOLS: dict[str, Callable[..., Pool]] = {"threads": ThreadPool, "solo": lambda runner, size: SoloPool(runner)}


class Worker:
    """Runs an app's tasks, and native workflows and activities beside them, until it is told to stop."""

    def __init__(
        self,
        app: Celery,
        *,
        queues: Sequence[str] | None = None,
        concurrency: int | None = None,
        pool: str = "threads",
        hostname: str | None = None,
        graceful_timeout: float | None = None,
        workflows: Sequence[type] = (),
        activities: Sequence[Callable[..., Any]] = (),
    ) -> None:
        self.app = app
        self.queues = [checked_queue(queue) for queue in queues or [app.conf.task_default_queue]]
        self.concurrency = concurrency or app.conf.worker_concurrency or os.cpu_count() or 1
        self.hostname = hostname or f"celery@{socket.gethostname()}"
        self.pool_name = pool
        self.graceful_timeout = graceful_timeout
        self.pool = make_pool(pool, Runner(app), self.concurrency)
        self._native = list(workflows), list(activities)
        # For native activities that are not `async def`; it starts no thread before one runs.
        self._threads = ThreadPoolExecutor(self.concurrency, "activity")
        self.slots = Slots(self.concurrency)
        self._stop = asyncio.Event()
        self._client: Client | None = None
        self._serving: dict[str, TemporalWorker] = {}
        self._runs: list[asyncio.Future[None]] = []
        self._dropped: set[asyncio.Future[None]] = set()
        self.tasks = TaskActivity(app, self.pool, self.hostname)
        self.on_ready: Callable[[], None] = lambda: None

    def run(self) -> None:
        """Run in this thread until SIGTERM or SIGINT; a second one ends it at once."""
        self.pool.start()
        try:
            asyncio.run(self._run_with_signals())
        finally:
            self.pool.kill()

    async def _run_with_signals(self) -> None:
        with self._signals():
            await self.serve()

    async def serve(self) -> None:
        """Run on the current event loop until `stop` is called; the pool has been started."""
        await self.pool.ready()
        self._client = await connected(self.app, self.hostname)
        for queue in self.queues:
            self._serve(queue)
        async with self._control():
            self.on_ready()
            log.info("%s ready.", self.hostname)
            await self._stop.wait()
            ended: asyncio.Future[Any] = asyncio.gather(
                *(worker.shutdown() for worker in self._serving.values()), *self._runs
            )
            killed: asyncio.Future[Any] = asyncio.ensure_future(self.tasks.stop_now.wait())
            await asyncio.wait([ended, killed], return_when=asyncio.FIRST_COMPLETED)
            if killed.done() and not ended.done():
                await asyncio.wait([ended], timeout=LAST_WORDS)
            killed.cancel()
        self._threads.shutdown(wait=False)
        if ended.done():
            ended.result()
            await self.pool.stop()

    @contextlib.asynccontextmanager
    async def _control(self) -> AsyncIterator[None]:
        """Answer control calls until the end of the block: the tasks that run on after `stop` can still be seen."""
        if not self.app.conf.worker_enable_remote_control:
            yield
            return
        async with Receiver(self, self.client).open():
            yield

    @property
    def client(self) -> Client:
        if self._client is None:
            raise OperationalError(f"{self.hostname} has no connection to Temporal before it runs")
        return self._client

    def serve_queue(self, queue: str) -> None:
        """Take tasks from one more queue."""
        if queue in self._serving or self._stop.is_set():
            return
        self._serve(queue)
        self.queues.append(queue)
        log.info("Consuming from %s", queue)

    def drop_queue(self, queue: str) -> None:
        """Take no more tasks from a queue; those that run go on running."""
        worker = self._serving.pop(queue, None)
        if worker is not None:
            self.queues.remove(queue)
            self._dropped.add(asyncio.ensure_future(worker.shutdown()))
            log.info("No longer consuming from %s", queue)

    def resize(self, concurrency: int) -> None:
        """Run so many tasks at a time from now on."""
        self.pool.resize(concurrency)
        self.slots.resize(self.slots.size + concurrency - self.concurrency)
        self.concurrency = concurrency

    def _serve(self, queue: str) -> None:
        worker = self._serving[queue] = self._temporal_worker(self.client, queue)
        run = asyncio.ensure_future(worker.run())
        self._runs.append(run)

        def ended(run: asyncio.Future[None]) -> None:
            if self._serving.get(queue) is worker:
                self.stop()  # not told to: the server refused it, say. `serve` raises what it raised.

        run.add_done_callback(ended)

    def stop(self) -> None:
        """Take no new tasks, and end when the running ones have."""
        self._stop.set()

    def stop_now(self) -> None:
        """End at once: the running tasks are given back, and run again elsewhere."""
        self._stop.set()
        self.tasks.stop_now.set()

    def _temporal_worker(self, client: Client, queue: str) -> TemporalWorker:
        workflows, activities = self._native
        return TemporalWorker(
            client,
            task_queue=queue,
            workflows=[TaskWorkflow, *workflows],
            activities=[self.tasks.run, *activities],
            activity_executor=self._threads,
            tuner=WorkerTuner.create_composite(
                workflow_supplier=FixedSizeSlotSupplier(WORKFLOW_TASKS),
                activity_supplier=self.slots,
                local_activity_supplier=FixedSizeSlotSupplier(WORKFLOW_TASKS),
                nexus_supplier=FixedSizeSlotSupplier(1),
            ),
            identity=self.hostname,
            graceful_shutdown_timeout=(
                NO_LIMIT if self.graceful_timeout is None else timedelta(seconds=self.graceful_timeout)
            ),
            max_heartbeat_throttle_interval=PROGRESS_INTERVAL,
            default_heartbeat_throttle_interval=PROGRESS_INTERVAL,
        )

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def received(name: str) -> None:
            if self._stop.is_set():
                log.warning("%s again: ending at once; what runs is given back and runs again elsewhere", name)
                self.stop_now()
            else:
                running = len(self.tasks.running)
                log.warning("%s: no new tasks; ending when the %d running have (again: at once)", name, running)
                self.stop()

        names = ("SIGTERM", "SIGINT")
        for name in names:
            loop.add_signal_handler(getattr(signal, name), received, name)
        try:
            yield
        finally:
            for name in names:
                loop.remove_signal_handler(getattr(signal, name))


def checked_queue(name: str) -> str:
    # The client library would ask for such a queue again and again, and never be answered.
    if not name.strip() or len(name.encode()) > LONGEST_ID or not name.isprintable():
        raise ImproperlyConfigured(f"queue {name[:60]!r} can't be served; a name is 1 to {LONGEST_ID} printable bytes")
    return name


def make_pool(name: str, runner: Runner, size: int) -> Pool:
    if name not in POOLS:
        raise ImproperlyConfigured(f"pool {name!r} is not there; there are {', '.join(sorted(POOLS))}")
    return POOLS[name](runner, size)


async def connected(app: Celery, identity: str) -> Client:
    """A client whose server answers and whose namespace exists; else an error of one line."""
    settings = connection(app.conf)
    where = f"Temporal at {settings.address}"
    try:
        client = await asyncio.wait_for(
            connect(settings, data_converter(app.codecs()), identity=identity), settings.connect_timeout
        )
    except (RuntimeError, asyncio.TimeoutError, OSError) as error:
        reason = str(error) or f"no answer within {settings.connect_timeout:g} s"
        raise OperationalError(
            f"{where} can't be reached: {reason}; is it running? (ptemporal-compat server)"
        ) from None
    try:
        found = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=settings.namespace),
            timeout=timedelta(seconds=settings.connect_timeout),
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise OperationalError(
                f"{where} has no namespace {settings.namespace!r}; set ptemporal.namespace, or create it: "
                f"temporal operator namespace create -n {settings.namespace}"
            ) from None
        raise OperationalError(f"{where}, namespace {settings.namespace!r}: {error.message}") from None
    refuse_too_high_a_limit(app.conf.ptemporal_payload_limit, found.namespace_info.limits.blob_size_limit_error)
    return client


def refuse_too_high_a_limit(ours: int, servers: int) -> None:
    """A result between the two limits could not be sent, and its task would run again for ever."""
    if servers and ours > servers:
        raise ImproperlyConfigured(
            f"ptemporal.payload_limit = {ours} is above what the server takes, {servers}; "
            f"set ptemporal.payload_limit = {servers}, or raise the server's limit.blobSize.error"
        )
