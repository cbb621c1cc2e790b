"""Runs the Temporal workers that a function of the application makes: `ptemporal-compat worker --factory`."""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from temporalio.client import Client

from ..celery_names.nodenames import default_nodename, host_format
from ..client.process_exit import exit_at_once
from ..exceptions import ImproperlyConfigured
from ..settings.config_objects import import_object
from ..worker.first_connection import client_unless_stopped

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

STOPPED_BY = (signal.SIGTERM, signal.SIGINT)


class FactoryWorkers:
    """Connects, calls the factory with the application's registry and the client, and runs what it returns."""

    def __init__(self, app: AppLike, factory: str, hostname: str | None = None) -> None:
        """
        :param factory: `module:name` of a function. It may be `async def`. It returns one worker or several, each with
            `run` and `shutdown` as `temporalio.worker.Worker` has them.
        """
        self._app = app
        self._named = factory
        self._factory = import_object(factory)
        self._identity = default_nodename(host_format(hostname or ""))
        if not callable(self._factory):
            raise ImproperlyConfigured(f"--factory {factory} names {self._factory!r}, which can't be called")

    def run(self) -> None:
        """Run in this thread until SIGTERM or SIGINT. A second signal ends the process at once."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in STOPPED_BY:
            loop.add_signal_handler(signum, self._told_to_stop, stop)
        client = await client_unless_stopped(self._app, self._identity, stop)
        if client is None:  # told to stop before the server came
            return
        workers = await self._made(client)
        queues = ", ".join(str(getattr(worker, "task_queue", worker)) for worker in workers)
        log.info("%s ready: %s", self._named, queues)
        print(f"{self._identity}: {self._named} serves {queues}", flush=True)
        await self._until_stopped(workers, stop)

    async def _made(self, client: Client) -> list[Any]:
        made = self._factory(self._app.registry, client)
        if inspect.isawaitable(made):
            made = await made
        workers = list(made) if isinstance(made, Sequence) else [made]
        if not workers or not all(hasattr(each, "run") and hasattr(each, "shutdown") for each in workers):
            raise ImproperlyConfigured(
                f"--factory {self._named} returned {made!r}; it has to return a worker, or a list of workers, such as "
                "pyramid_temporal_compat.Worker(client, registry, task_queue=…)"
            )
        return workers

    async def _until_stopped(self, workers: list[Any], stop: asyncio.Event) -> None:
        """Run the workers until `stop` is set, or until one ends by itself. Its error is the error of the call."""
        runs = [asyncio.ensure_future(worker.run()) for worker in workers]
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([*runs, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        left = [worker for worker, run in zip(workers, runs, strict=True) if not run.done()]
        await asyncio.gather(*(worker.shutdown() for worker in left), *runs)

    def _told_to_stop(self, stop: asyncio.Event) -> None:
        if stop.is_set():
            log.warning("told to stop again: ending at once")
            exit_at_once(1)
        log.warning("no new work; ending when what runs has ended (again: at once)")
        stop.set()
