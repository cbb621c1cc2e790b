"""Workers in this process, each on its own thread, and an app that sends them control calls."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.control import control, process_state
from pyramid_temporal_compat.control.call_arguments import TIMEOUT, seconds
from pyramid_temporal_compat.worker.worker import Worker
from tests.parts import wait_until

PATIENCE = 30.0
REPLY_WITHIN = 4.0
"""Seconds that a call waits for a reply here. Where nobody replies, a test takes so long."""


class RunningWorker:
    """A worker that serves until it is stopped."""

    def __init__(self, app: Celery, **options: Any) -> None:
        self.ready = threading.Event()
        self.error: BaseException | None = None
        self.worker: Worker | None = None
        self._app, self._options = app, options
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_until(lambda: self.ready.is_set() or self.error, message="the worker")
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self.error = error

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.worker = Worker(self._app, **{"pool": "threads", **self._options})
        self.worker.on_ready = self.ready.set
        self.worker.pool.start()
        try:
            await self.worker.serve()
        finally:
            self.worker.pool.kill()

    @property
    def hostname(self) -> str:
        assert self.worker is not None
        return self.worker.hostname

    def stop(self) -> None:
        if self.thread.is_alive():
            assert self.worker is not None
            self.loop.call_soon_threadsafe(self.worker.stop)
            self.thread.join(60)
        if self.error:
            raise self.error


@pytest.fixture
def queue() -> str:
    return f"control-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def app(temporal_address: str, queue: str) -> Iterator[Celery]:
    with Celery("shop", set_as_current=False) as app:
        app.conf.update(ptemporal_address=temporal_address, task_default_queue=queue)
        yield app


@pytest.fixture
def start(app: Celery) -> Iterator[Callable[..., RunningWorker]]:
    """Start a worker under a unique node name, because all tests share one server."""
    with ExitStack() as stack:

        def start(name: str = "w", **options: Any) -> RunningWorker:
            options.setdefault("hostname", f"{name}-{uuid.uuid4().hex[:6]}@test")
            options.setdefault("concurrency", 2)
            options.setdefault("pool", "threads")  # prefork would have to fork before this process starts a thread
            running = RunningWorker(app, **options)
            stack.callback(running.stop)
            return running

        yield start


@pytest.fixture(autouse=True)
def patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls with the usual timeout wait longer for a reply: the machine that runs the tests may be busy."""
    monkeypatch.setattr(control, "seconds", lambda timeout: REPLY_WITHIN if timeout == TIMEOUT else seconds(timeout))


@pytest.fixture(autouse=True)
def clean_process_state() -> Iterator[None]:
    """Clear what the process remembers about revoked tasks, so that no test sees another test's."""
    yield
    process_state.revoked.clear()
    process_state.revoked_on_server.clear()
    process_state.revoked_stamps.clear()
    process_state.paused_types.clear()
    process_state.resumed_types.clear()
    process_state.total_count.clear()
