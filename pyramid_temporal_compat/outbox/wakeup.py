"""The sleep of a relay between two looks at the table. PostgreSQL's NOTIFY or a call of `wake` ends it early."""

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
"""Seconds between two attempts to LISTEN. Meanwhile the relay polls the table, as it does on SQLite."""
LISTENING_DRIVERS = ("psycopg", "psycopg2")
"""The PostgreSQL drivers with a file descriptor that a selector can wait for, beside a socket."""


class Sleep:
    """One relay's sleep. Every thread, and a signal handler, may call `wake`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._driver: Any = None
        self._listen_at = 0.0
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)

    def wake(self) -> None:
        """End the sleep now, or skip the next one."""
        with contextlib.suppress(OSError):  # many calls have filled the socket, or it is closed
            self._alarm.send(b"x")

    def until(self, seconds: float) -> None:
        """Sleep for so many seconds, or until woken."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._awake, selectors.EVENT_READ)
            notifications = self._notifications()
            if notifications is not None:
                selector.register(notifications, selectors.EVENT_READ)
            woken = {key.fileobj for key, _ in selector.select(max(0.0, seconds))}
        if self._awake in woken:
            with contextlib.suppress(BlockingIOError):
                self._awake.recv(4096)
        if notifications is not None and notifications in woken:
            self._read_notifications()

    def close(self) -> None:
        self._disconnect()
        self._awake.close()
        self._alarm.close()

    # --- PostgreSQL ------------------------------------------------------------------------------

    def _notifications(self) -> int | None:
        """Return the file descriptor that PostgreSQL's notifications arrive on; None if the relay can't listen."""
        if self._connection is None and time.monotonic() >= self._listen_at:
            self._listen_at = time.monotonic() + LISTEN_AGAIN
            self._listen()
        return None if self._connection is None else int(self._driver.fileno())

    def _listen(self) -> None:
        if self._engine.dialect.name != "postgresql" or self._engine.dialect.driver not in LISTENING_DRIVERS:
            return
        try:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection, self._driver = connection, connection.connection.driver_connection
            connection.detach()  # the pool belongs to the application, and this connection stays open
            connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        except SQLAlchemyError as error:
            log.debug("can't listen to PostgreSQL: %s", error)
            self._disconnect()

    def _read_notifications(self) -> None:
        try:
            if self._engine.dialect.driver == "psycopg2":
                self._driver.poll()
                self._driver.notifies.clear()
            else:
                self._driver.pgconn.consume_input()
                while self._driver.pgconn.notifies() is not None:
                    pass
        except Exception as error:  # errors of the driver: the database went away
            log.debug("PostgreSQL is no longer listened to: %s", error)
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):  # the connection may be broken
                connection.close()
