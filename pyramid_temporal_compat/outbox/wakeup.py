"""How a relay sleeps: until its time is over, it is told to stop, or PostgreSQL tells it of a row."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import time
from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from .store import CHANNEL

log = logging.getLogger(__name__)

LISTEN_AGAIN = 30.0
"""Seconds between two tries to listen. Meanwhile the relay looks at the table from time to time, as on SQLite."""
HEARS = ("psycopg", "psycopg2")
"""The drivers of PostgreSQL that can be waited for beside a socket."""


class Sleep:
    """One relay's. `wake` may be called from every thread, and from a signal handler."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._driver: Any = None
        self._listen_at = 0.0
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # it has been woken already, or is closed
            self._alarm.send(b"x")

    def until(self, seconds: float) -> None:
        """Sleep so many seconds, or less."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._awake, selectors.EVENT_READ)
            ears = self._ears()
            if ears is not None:
                selector.register(ears, selectors.EVENT_READ)
            woken = {key.fileobj for key, _ in selector.select(max(0.0, seconds))}
        if self._awake in woken:
            with contextlib.suppress(BlockingIOError):
                self._awake.recv(4096)
        if ears is not None and ears in woken:
            self._hear()

    def close(self) -> None:
        self._hang_up()
        self._awake.close()
        self._alarm.close()

    # --- PostgreSQL ------------------------------------------------------------------------------

    def _ears(self) -> int | None:
        """What becomes readable when PostgreSQL has something to say."""
        if self._connection is None and time.monotonic() >= self._listen_at:
            self._listen_at = time.monotonic() + LISTEN_AGAIN
            self._listen()
        return None if self._connection is None else int(self._driver.fileno())

    def _listen(self) -> None:
        if self._engine.dialect.name != "postgresql" or self._engine.dialect.driver not in HEARS:
            return
        try:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection, self._driver = connection, connection.connection.driver_connection
            connection.detach()  # it stays open, and the pool is the application's
            connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        except SQLAlchemyError as error:
            log.debug("can't listen to PostgreSQL: %s", error)
            self._hang_up()

    def _hear(self) -> None:
        try:
            if self._engine.dialect.driver == "psycopg2":
                self._driver.poll()
                self._driver.notifies.clear()
            else:
                self._driver.pgconn.consume_input()
                while self._driver.pgconn.notifies() is not None:
                    pass
        except Exception as error:  # the driver's own: the database went away
            log.debug("PostgreSQL is no longer listened to: %s", error)
            self._hang_up()

    def _hang_up(self) -> None:
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it may be broken
                connection.close()
