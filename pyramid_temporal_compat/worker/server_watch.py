"""Asks the server all the time whether it is there, and logs once that it is lost and once that it is back."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from temporalio.client import Client
from temporalio.service import RPCError

from ..log_lines.text_safety import one_line

log = logging.getLogger(__name__)

MISSES = 2
"""How many questions in a row have no answer until the server is lost: one alone may be a busy moment."""


class ServerWatch:
    """What one worker knows of its server. Belongs to the worker's event loop."""

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._address = address
        self._misses = 0
        self._answered = time.monotonic()

    @property
    def is_lost(self) -> bool:
        return self._misses >= MISSES

    async def ask(self, timeout: float) -> bool:
        """Ask the server whether it is there, for at most `timeout` seconds. Return whether it answers."""
        try:
            await self._client.service_client.check_health(timeout=timedelta(seconds=timeout))
        except RPCError as error:
            self._missed(one_line(error.message or error.status.name))
            return False
        self._has_answered()
        return True

    def _missed(self, reason: str) -> None:
        self._misses += 1
        if self._misses == MISSES:
            log.warning(
                "lost the server at %s: %s. Running tasks go on, and others wait until it is back",
                self._address,
                reason,
            )

    def _has_answered(self) -> None:
        now = time.monotonic()
        if self._misses >= MISSES:
            log.warning("the server at %s answers again, after %.0f seconds", self._address, now - self._answered)
        self._misses = 0
        self._answered = now
