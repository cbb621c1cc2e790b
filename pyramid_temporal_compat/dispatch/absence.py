"""Whether the server is known to be away: who need not wait to be told so again does not ask it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading

from .client import Connection
from .queues import answers

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two looks whether it is back."""
PATIENCE = 5.0


class Absence:
    """Noticed by a call that failed, and over when the server answers a look that no call waits for.

    For every thread. A forked process finds out by itself.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._noticed_by: int | None = None
        self.reason: BaseException | None = None

    @property
    def lasts(self) -> bool:
        return self._noticed_by is not None and self._noticed_by == os.getpid()

    def notice(self, reason: BaseException) -> None:
        with self._lock:
            if self.lasts:
                return
            self.reason = reason
            self._noticed_by = os.getpid()
        self._connection.submit(self._look)

    async def _look(self) -> None:
        pause = FIRST_PAUSE
        try:
            while not await self._answers():
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            log.info("%s answers again", self._connection)
        finally:  # also where the connection is closed
            self._noticed_by = None

    async def _answers(self) -> bool:
        try:
            client = await asyncio.wait_for(self._connection.client(), PATIENCE)
            await asyncio.wait_for(answers(client, PATIENCE), PATIENCE)
        except Exception as error:
            self.reason = error
            return False
        return True
