"""Shared parts of the tests of `request.temporal`: an application, and a worker of its hand-written workflows."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from temporalio.worker import Worker

from pyramid_temporal_compat.native.request_temporal import connect


def unique(prefix: str = "greeting") -> str:
    return f"{prefix}-{uuid.uuid4()}"


@contextlib.contextmanager
def serving(registry: Any, queue: str, workflows: Sequence[type], **options: Any) -> Iterator[None]:
    """Run temporalio's own worker, on a client of the application, while the block runs."""
    loop = asyncio.new_event_loop()
    stop, ready = asyncio.Event(), threading.Event()

    async def serve() -> None:
        async with Worker(await connect(registry), task_queue=queue, workflows=workflows, **options):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
