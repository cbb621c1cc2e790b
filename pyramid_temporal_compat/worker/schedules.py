"""What a worker does for periodic tasks when it starts: make the server's schedules equal, or say that they differ."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from temporalio.client import Client

from ..schedules.entries import application_name
from ..schedules.sources import declares_any

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from ..schedules.declaration import Declared

log = logging.getLogger(__name__)


class StartOfSchedules:
    """Belongs to the worker's event loop, from `connected` on."""

    def __init__(self, app: AppLike, asked: bool) -> None:
        """Read the declared periodic tasks. Raises `BadEntry` if the worker is to synchronise an invalid entry.

        :param asked: the worker was started with `-B`.
        """
        self._app = app
        self._acts = asked or app.conf["ptemporal.beat"] == "on-start"
        self._declared = declared(app) if self._acts else []
        self._look: asyncio.Future[None] | None = None

    async def connected(self, client: Client) -> None:
        """Synchronise before the worker takes its first task, or begin to look for differences beside it."""
        if self._acts:
            await self._synchronise(client)
        elif declares_any(self._app):
            from ..schedules.drift import log_drift  # 4 ms, which a worker without periodic tasks saves

            self._look = asyncio.ensure_future(log_drift(client, self._app))

    async def _synchronise(self, client: Client) -> None:
        from ..schedules.sync import FAILURES, synchronise  # as in `declared`, below

        try:
            plan = await synchronise(client, application_name(self._app), self._declared)
        except FAILURES as error:
            log.error("schedules are not synchronised: %s; tasks run all the same; ptemporal-compat beat", error)
        else:
            log.info("schedules: %s", plan.summary(done=True))


def declared(app: AppLike) -> list[Declared]:
    """Return what the server is to hold for each declared periodic task."""
    from ..schedules.declaration import declarations  # 4 ms, which a worker without periodic tasks saves

    return declarations(app)
