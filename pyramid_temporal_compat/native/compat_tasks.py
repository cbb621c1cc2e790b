"""The tasks of an application, beside its own activities and workflows, in a worker of its own making."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from temporalio.client import Client

from ..control.paused_types import PausedTypesReader
from ..exceptions import ImproperlyConfigured
from ..payload.headers import HEADER_CODECS
from ..worker.activity import TaskActivity
from ..worker.call_defaults import CallDefaults
from ..worker.pools.threads import ThreadPool
from ..worker.runner import Runner
from ..worker.task_modules import load_tasks
from ..worker.worker import PROGRESS_INTERVAL, beside
from ..worker.workflows.task_workflow import TaskWorkflow

if TYPE_CHECKING:
    from ..interfaces import AppLike


class CompatTasks:
    """Runs an app's tasks on threads of this process, for a worker that has a connection and a queue.

    `ptemporal-compat worker` runs tasks in child processes, answers control calls, sends the outbox and more. This has
    only what a task itself needs.
    """

    def __init__(self, app: AppLike, client: Client, size: int, identity: str) -> None:
        refuse_plain_client(app, client)
        load_tasks(app)
        app.finalize()
        self._runner = Runner(app)
        self._pool = ThreadPool(self._runner, size)
        self._activity = TaskActivity(app, self._pool, identity)
        self._call_defaults = CallDefaults(self._activity.parts)
        self._paused_types = PausedTypesReader(client)

    def added_to(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a Temporal worker, with what makes it run tasks too."""
        return {
            # Progress and lost workers are seen by heartbeats, which the client library would hold back for longer.
            "max_heartbeat_throttle_interval": PROGRESS_INTERVAL,
            "default_heartbeat_throttle_interval": PROGRESS_INTERVAL,
            **options,
            "activities": [self._activity.run, self._call_defaults.envelope, *options["activities"]],
            "workflows": [TaskWorkflow, *options["workflows"]],
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run tasks until the end of the block, and then wait for the last ones."""
        self._pool.start()
        try:
            await self._pool.ready()
            if self._runner.receipts is not None:
                await asyncio.to_thread(self._runner.receipts.check)
            await self._paused_types.read()
            async with beside(self._paused_types.forever()):
                yield
            await self._pool.stop()
        finally:
            self._pool.kill()


def refuse_plain_client(app: AppLike, client: Client) -> None:
    """Raise if the app's payloads pass through codecs that the client lacks: no task could read its arguments."""
    if not app.codecs():
        return
    if client.data_converter.payload_codec is None or client.config()["header_codec_behavior"] != HEADER_CODECS:
        raise ImproperlyConfigured(
            "Worker(tasks=True): the application encodes its payloads (ptemporal.codecs), and the client does not "
            "decode them; make the client with `await connect(registry)`"
        )
