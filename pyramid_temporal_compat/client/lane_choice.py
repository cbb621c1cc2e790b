"""Tells the callers of tasks whether the server takes tasks as standalone activities."""

from __future__ import annotations

import concurrent.futures
import logging
import os
import threading

from .connection import Connection
from .standalone import NO_ACTIVITIES, Support, support_of

log = logging.getLogger(__name__)


class LaneChoice:
    """Asks the server once for each connection. Every thread may use it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._answer: concurrent.futures.Future[Support] | None = None
        self._asked_by: int | None = None

    def is_open(self, patience: float) -> bool:
        """Return whether the server takes tasks as standalone activities; False as long as that is not known.

        :param patience: how many seconds to wait for the server's first answer. With 0, a later call gets the answer.
        """
        if self._connection.in_own_thread():
            patience = 0
        answer = self._asked()
        try:
            return answer.result(patience).takes_tasks
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            return False
        except Exception as error:  # the server is away, and the call itself says so if it must
            log.debug("whether %s takes standalone activities is asked again: %r", self._connection, error)
            return False

    def _asked(self) -> concurrent.futures.Future[Support]:
        """Return the answer, which may be under way. After a failure, or after a fork, the server is asked again."""
        with self._lock:
            answer = self._answer
            failed = answer is not None and answer.done() and (answer.cancelled() or answer.exception() is not None)
            if answer is None or failed or self._asked_by != os.getpid():
                answer = self._answer = self._connection.submit(self._ask)
                self._asked_by = os.getpid()
            return answer

    async def _ask(self) -> Support:
        support = await support_of(await self._connection.client())
        if not support.takes_tasks:
            log.info(NO_ACTIVITIES, self._connection.settings.address, self._connection.settings.namespace)
        return support
