"""Whether the server is known to be away: who need not wait to be told so again does not ask it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading

from temporalio.service import RPCError, RPCStatusCode

from .connection import Connection, is_transient
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
            while (reason := await why_away(self._connection, PATIENCE)) is not None:
                self.reason = reason
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            log.info("%s answers again", self._connection)
        finally:  # also where the connection is closed
            self._noticed_by = None


NOT_THE_CALLS = (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.UNIMPLEMENTED)
"""Refusals that no call is to blame for: the key is wrong, or what answers is no Temporal server."""


def is_absence(error: BaseException) -> bool:
    """Whether the server is away for everyone, as far as one call can tell."""
    if isinstance(error, RPCError):
        return error.status in NOT_THE_CALLS or is_transient(error)
    return True


async def why_away(connection: Connection, patience: float) -> BaseException | None:
    """Ask the server whether it is there. None if it is: also where it refuses the question."""
    try:
        client = await asyncio.wait_for(connection.client(), patience)
        await asyncio.wait_for(answers(client, patience), patience)
    except Exception as error:
        return error if is_absence(error) else None
    return None
