"""A task whose database goes away is rolled back, and runs again later."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pyramid.threadlocal import get_current_request
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.server.embedded import free_ports
from pyramid_temporal_compat.transactions.database_errors import database_is_away
from tests.parts import DRIVER
from tests.worker.shop import Shop, seen, write

PATIENCE = 20
KILL = text("SELECT pg_terminate_backend(pg_backend_pid())")


@shared_task(bind=True)
def loses_its_connection(self: Any, times: int) -> int:
    write("done")
    seen["runs"].append(self.request.retries)
    if len(seen["runs"]) <= times:
        get_current_request().dbsession.execute(KILL)
    return len(seen["runs"])


def test_a_run_that_loses_its_connection_is_rolled_back_and_made_again_at_once(shop: Shop) -> None:
    assert loses_its_connection.delay(2).get(timeout=PATIENCE) == 3
    assert shop.lines() == ["done"]


def test_a_task_waits_for_a_database_that_stays_away_and_that_counts_as_no_retry(shop: Shop) -> None:
    attempts = shop.app.conf.ptemporal_transaction_attempts
    assert loses_its_connection.delay(attempts).get(timeout=PATIENCE) == attempts + 1
    assert set(seen["runs"]) == {0}
    assert shop.lines() == ["done"]


@shared_task(acks_late=False)
def loses_its_connection_at_most_once() -> None:
    seen["runs"].append(0)
    get_current_request().dbsession.execute(KILL)


def test_a_task_that_runs_at_most_once_fails_if_its_database_goes_away(shop: Shop) -> None:
    with pytest.raises(Exception, match="terminating connection"):
        loses_its_connection_at_most_once.delay().get(timeout=PATIENCE)
    assert seen["runs"] == [0]


@shared_task
def asks_what_is_wrong() -> None:
    seen["runs"].append(0)
    get_current_request().dbsession.execute(text("SELECT 1 / 0"))


def test_an_error_that_the_database_answers_is_an_ordinary_failure(shop: Shop) -> None:
    with pytest.raises(Exception, match="division by zero"):
        asks_what_is_wrong.delay().get(timeout=PATIENCE)
    assert seen["runs"] == [0]


def error_of(url: str, statement: str) -> SQLAlchemyError:
    engine = create_engine(url, connect_args={"timeout": 0} if url.startswith("sqlite") else {})
    with Session(engine) as session, pytest.raises(SQLAlchemyError) as caught:
        session.execute(text(statement))
    engine.dispose()
    return caught.value


def test_a_connection_that_is_refused_means_away() -> None:
    (port,) = free_ports("127.0.0.1", 1)
    assert database_is_away(error_of(f"postgresql+{DRIVER}://127.0.0.1:{port}/nothing", "SELECT 1"))


def test_a_session_that_is_used_again_after_its_connection_was_lost_means_away(database_url: str) -> None:
    engine = create_engine(database_url)
    with Session(engine) as session:
        with pytest.raises(OperationalError):
            session.execute(KILL)
        with pytest.raises(SQLAlchemyError) as caught:
            session.execute(text("SELECT 1"))
    engine.dispose()
    assert database_is_away(caught.value)


def test_a_sqlite_that_another_writes_to_means_away(tmp_path: Path) -> None:
    file = tmp_path / "data.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN EXCLUSIVE")
        assert database_is_away(error_of(f"sqlite:///{file}", "INSERT INTO t VALUES (1)"))


def test_a_full_disk_of_the_database_means_away() -> None:
    assert database_is_away(OperationalError("INSERT", {}, psycopg.errors.DiskFull("no space left on device")))


def test_as_many_connections_to_a_mysql_as_a_user_may_have_mean_away() -> None:
    errors = pytest.importorskip("pymysql.err", reason="the errors of MySQL come from PyMySQL")
    refused = errors.OperationalError(1203, "User site already has more than 'max_user_connections' active connections")
    refused.sqlstate = "42000"  # later releases of the driver set it to the SQLSTATE of a denied access
    assert database_is_away(OperationalError("SELECT 1", {}, refused))


@pytest.mark.parametrize(
    "error",
    [
        lambda: error_of("sqlite://", "SELECT * FROM nothing"),
        lambda: OperationalError("SELECT 1", {}, ValueError("not a driver's")),
        lambda: ConnectionRefusedError("another service's"),
    ],
)
def test_other_errors_do_not_mean_away(error: Callable[[], Exception]) -> None:
    assert not database_is_away(error())
