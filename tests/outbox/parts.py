"""What tests of the outbox share: an application that has one, relays on threads, and what the table holds."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from typing import Any
from unittest import mock

from sqlalchemy import Engine, delete, event, func, select

from pyramid_temporal_compat.dispatch.dispatcher import Dispatcher
from pyramid_temporal_compat.outbox import metadata, outbox
from pyramid_temporal_compat.outbox.relay import Relay
from pyramid_temporal_compat.outbox.store import Store
from tests.dispatch.application import Site
from tests.parts import wait_until


def unique() -> str:
    return uuid.uuid4().hex


class OutboxSite(Site):
    def __init__(self, url: str, address: str, manager: str = "explicit", **settings: str) -> None:
        super().__init__(url, address, manager, **{"ptemporal.outbox": "dbsession", **settings})
        metadata.create_all(self.engine)
        self.store = Store(self.engine, "default")

    def rows(self) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(select(outbox).order_by(outbox.c.id)))

    def count(self) -> int:
        with self.engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(outbox)) or 0

    def is_empty(self) -> None:
        wait_until(lambda: self.count() == 0, message="rows are left in the outbox")

    def clear(self) -> None:
        assert self.app.outbox is not None
        assert self.app.outbox.sweeper(self.engine).flush(10)
        with self.engine.begin() as connection:
            connection.execute(delete(outbox))

    def hurry(self) -> None:
        """Have the rows be due now, as they are once the fast path's time is over."""
        self.store.release([row.id for row in self.rows()], "")


@contextlib.contextmanager
def without_dispatch() -> Iterator[None]:
    """The process dies between the commit and the hook, as far as anybody can tell."""
    with mock.patch.object(Dispatcher, "after_commit"):
        yield


@contextlib.contextmanager
def running(relay: Relay) -> Iterator[Relay]:
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield relay
    finally:
        relay.stop()
        thread.join(30)
        assert not thread.is_alive()


@contextlib.contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """The SQL that is sent on this thread's and others' connections meanwhile."""
    found: list[str] = []

    def sent(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", sent)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", sent)
