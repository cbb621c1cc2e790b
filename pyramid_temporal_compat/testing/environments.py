"""Temporal's test environments on the server of the test session, and workers for single tests."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar
from unittest import mock

from temporalio.client import Client, WorkflowHandle
from temporalio.testing import TimeSkipper, WorkflowEnvironment

from ..client.client_options import ClientOptions
from ..client.connection import Connection, Loop
from ..native.context import ActivityContext
from ..native.worker import Worker
from ..transactions.pyramid_request import attempt

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds in which a workflow of a test must end, unless the test says otherwise."""


class LoopThread:
    """An event loop on a thread of its own, for tests that are no coroutines."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ptemporal-tests", daemon=True)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop, and return its result."""
        return self.submit(coroutine).result(timeout)

    def stop(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def connect(address: str) -> Client:
    """Return a client of the session's server, with the payload converter of an application that has no codecs."""
    return await Client.connect(address, **ClientOptions().of_client())


# --- time skipping -------------------------------------------------------------------------------------


class TimeSkippingEnvironment(WorkflowEnvironment):
    """The environment that `start_time_skipping_v2` makes, on a server that runs already.

    The server must have been started with `frontend.WorkflowTimeSkippingEnabled=true`.
    """

    def __init__(self, client: Client) -> None:
        self._skipper = TimeSkipper(client)
        super().__init__(self._skipper.client)

    @property
    def supports_time_skipping_v2(self) -> bool:
        """Return True."""
        return True

    def skipping(self, client: Client) -> Client:
        """Return a client like `client`, whose workflows skip time."""
        config = client.config()
        config["interceptors"] = [*config["interceptors"], self.client.config()["interceptors"][-1]]
        return Client(**config)

    async def fast_forward(
        self, handle: WorkflowHandle[Any, Any], duration: timedelta | float | None = None, /
    ) -> bool:
        """Move the clock of a running workflow forward."""
        return await self._skipper.fast_forward(handle, duration)

    async def get_current_time(self, handle: WorkflowHandle[Any, Any] | None = None) -> datetime:
        """Return the time on the clock of a workflow: each workflow has its own."""
        if handle is None:
            raise ValueError("each workflow has its own clock; pass its handle: env.get_current_time(handle)")
        return await self._skipper.get_current_time(handle)

    @contextmanager
    def with_time_skipping_disabled(self) -> Iterator[None]:
        """In this block, start workflows that take their time."""
        with self._skipper.with_time_skipping_disabled():
            yield


@contextmanager
def time_skipping(client: Client) -> Iterator[TimeSkippingEnvironment]:
    """While this lasts, the workflows and tasks that this process starts skip their timers."""
    environment = TimeSkippingEnvironment(client)

    def skipping(get_client: Callable[[Connection], Coroutine[Any, Any, Client]]) -> Any:
        async def get(connection: Connection) -> Client:
            return environment.skipping(await get_client(connection))

        return get

    with (
        mock.patch.object(Connection, "client", skipping(Connection.client)),
        mock.patch.object(Connection, "client_without_retries", skipping(Connection.client_without_retries)),
    ):
        yield environment


# --- workers -------------------------------------------------------------------------------------------


class RunningWorker:
    """A worker that runs on the thread of the session's event loop, and the queue that it serves."""

    def __init__(self, loop: LoopThread, client: Client, registry: Any, **options: Any) -> None:
        self.client = client
        self.task_queue: str = options.pop("task_queue", None) or f"test-{uuid.uuid4().hex[:12]}"
        self._loop = loop
        self.worker = loop.run(self._make(registry, options))
        self._run = loop.submit(self.worker.run())

    async def _make(self, registry: Any, options: dict[str, Any]) -> Worker:
        return Worker(self.client, registry, task_queue=self.task_queue, **options)

    def execute(self, workflow: Any, *args: Any, timeout: float = PATIENCE, **options: Any) -> Any:
        """Run a workflow on the worker's queue, and return its result. It takes the options of `start_workflow`,
        and also its `args=[…]` instead of arguments in their order."""
        return self.run(self._execute(workflow, args, options), timeout)

    async def _execute(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        given = {"id": uuid.uuid4().hex, "args": args, **options}
        return await self.client.execute_workflow(workflow, task_queue=self.task_queue, **given)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = PATIENCE) -> T:
        """Run a coroutine on the worker's event loop, and return its result: a call of `client`, for example."""
        if self._run.done():
            self._run.result()
        return self._loop.run(coroutine, timeout)

    def stop(self) -> None:
        """Stop the worker, and wait for its end. Raises the error that has ended it."""
        if not self._run.done():
            self._loop.run(self.worker.shutdown())
        self._run.result()


# --- contexts ------------------------------------------------------------------------------------------


@contextmanager
def rolled_back_context(registry: Any) -> Iterator[ActivityContext]:
    """Yield a context whose transaction is aborted at the end of the block."""
    with attempt(registry) as run:
        yield ActivityContext(run.request)
