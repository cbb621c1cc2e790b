"""Remember that the server is away, so that callers that must not wait do not ask it again."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from datetime import timedelta

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from .connection import Connection, is_transient

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two looks for the server's return."""
LOOK_TIMEOUT = 5.0
"""Timeout of one look at the server, in seconds."""


class ServerAbsence:
    """Begins with a call that failed, and ends when the server answers a look in the background.

    Every thread may use it. A forked process starts without an absence, and finds out by itself.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._noticed_by: int | None = None
        self.reason: BaseException | None = None

    @property
    def lasts(self) -> bool:
        """Whether the server is known to be away now."""
        return self._noticed_by is not None and self._noticed_by == os.getpid()

    def notice(self, reason: BaseException) -> None:
        """Begin the absence, unless it lasts already, and look for the server's return in the background."""
        with self._lock:
            if self.lasts:
                return
            self.reason = reason
            self._noticed_by = os.getpid()
        self._connection.submit(self._look)

    async def _look(self) -> None:
        pause = FIRST_PAUSE
        try:
            while (reason := await reason_if_away(self._connection, LOOK_TIMEOUT)) is not None:
                self.reason = reason
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            log.info("%s answers again", self._connection)
        finally:  # also when the connection is closed
            self._noticed_by = None


REFUSES_ALL_CALLS = (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.UNIMPLEMENTED)
"""Refusals that concern every call: the key is wrong, or the program at the address is no Temporal server."""


def means_server_away(error: BaseException) -> bool:
    """Tell whether the error of one call means that the server is away for every call."""
    if isinstance(error, RPCError):
        return error.status in REFUSES_ALL_CALLS or is_transient(error)
    return True


async def check_server(client: Client, timeout: float) -> None:
    """Return if the server answers and has the namespace. Raise the error of the call otherwise."""
    request = DescribeNamespaceRequest(namespace=client.namespace)
    await client.workflow_service.describe_namespace(request, timeout=timedelta(seconds=timeout))


async def reason_if_away(connection: Connection, timeout: float) -> BaseException | None:
    """Ask the server whether it is there, and return the error if it is away.

    Return None if the server is there, also if it is there and refuses the question.
    """
    try:
        client = await asyncio.wait_for(connection.client(), timeout)
        await asyncio.wait_for(check_server(client, timeout), timeout)
    except Exception as error:
        return error if means_server_away(error) else None
    return None
