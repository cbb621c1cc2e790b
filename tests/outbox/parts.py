"""Shared parts of the outbox tests: an application with an outbox, relays on threads, a look at the table."""

from __future__ import annotations

import contextlib
import select as sockets
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar
from unittest import mock

from sqlalchemy import delete, event, func, select
from sqlalchemy.engine import Engine

from pyramid_temporal_compat.current import latest_app, set_current_app
from pyramid_temporal_compat.enlist.dispatcher import Dispatcher
from pyramid_temporal_compat.outbox import metadata, outbox
from pyramid_temporal_compat.outbox.store import Store
from tests.enlist.application import Site
from tests.parts import wait_until


class Runner(Protocol):
    """Something that runs on a thread until it is stopped, such as a relay."""

    def run(self) -> Any: ...
    def stop(self) -> None: ...


R = TypeVar("R", bound=Runner)


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
        """Make all rows due now, as if the web process had not sent them in time."""
        self.store.release([row.id for row in self.rows()], "")

    def as_new(self) -> OutboxSite:
        """Return this site for the next test: its app is the current one, and its outbox is empty."""
        self.app.set_current()
        self.clear()
        return self


@contextlib.contextmanager
def outbox_site(url: str, address: str, **settings: str) -> Iterator[OutboxSite]:
    """Yield an application with an outbox. Afterwards, the current app is the one that it was before."""
    before = latest_app()
    site = OutboxSite(url, address, **settings)
    try:
        yield site
    finally:
        site.close()
        set_current_app(before)


@contextlib.contextmanager
def without_dispatch() -> Iterator[None]:
    """Skip the dispatch in the block, as if the process died between the commit and the hook."""
    with mock.patch.object(Dispatcher, "after_commit"):
        yield


@contextlib.contextmanager
def running(runner: R, ends_within: float = 30) -> Iterator[R]:
    """Run a relay or a bridge on a thread, in the block."""
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        yield runner
    finally:
        runner.stop()
        thread.join(ends_within)
        assert not thread.is_alive()


@contextlib.contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Collect the SQL statements of all threads while the block runs."""
    found: list[str] = []

    def sent(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", sent)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", sent)


class Wire:
    """A TCP proxy on a thread: the connection to a server, which the test can cut and mend."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._there = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._is_whole, self._hangs = True, False
        self._ends: dict[socket.socket, socket.socket] = {}
        self._over = False
        self._thread = threading.Thread(target=self._run, name="wire")

    def cut(self) -> None:
        self._is_whole = False

    def hang(self) -> None:
        """Keep and accept connections, but pass no data."""
        self._hangs = True

    def mend(self) -> None:
        self._is_whole, self._hangs = True, False

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over = True
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._over:
            if not self._is_whole:
                self._drop(*self._ends)
            ends = [] if self._hangs else list(self._ends)
            readable = sockets.select([self._listener, *ends], [], [], 0.02)[0]
            for end in readable:
                if end is self._listener:
                    self._accept()
                elif end in self._ends:
                    self._forward(end)
        self._drop(*self._ends)

    def _accept(self) -> None:
        here = self._listener.accept()[0]
        if not self._is_whole:
            here.close()
            return
        there = socket.create_connection(self._there)
        self._ends |= {here: there, there: here}

    def _forward(self, end: socket.socket) -> None:
        try:
            data = end.recv(1 << 16)
            if data:
                self._ends[end].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(end)

    def _drop(self, *ends: socket.socket) -> None:
        for end in ends:
            other = self._ends.pop(end, None)
            for closing in (end, other):
                if closing is not None:
                    self._ends.pop(closing, None)
                    closing.close()
