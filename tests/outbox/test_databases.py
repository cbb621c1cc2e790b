"""The outbox on SQLite, with PostgreSQL's second driver, and the SQL for MySQL. See also `test_mysql`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateTable

from pyramid_temporal_compat.outbox import metadata, outbox, receipts
from pyramid_temporal_compat.outbox.relay import Relay
from pyramid_temporal_compat.outbox.store import Store
from pyramid_temporal_compat.outbox.wakeup import Sleep
from tests.enlist.application import Base, Item, analyse
from tests.outbox.parts import OutboxSite, running, unique, without_dispatch
from tests.parts import fresh_database, wait_until


@pytest.fixture
def lite(tmp_path: Path, temporal_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OutboxSite]:
    def make(url: str, **options: Any) -> Any:
        return create_engine(url)  # the driver takes other options

    monkeypatch.setattr("tests.enlist.application.create_engine", make)
    site = OutboxSite(f"sqlite:///{tmp_path / 'site.db'}", temporal_address)
    yield site
    site.close()


def order(request: Any) -> Any:
    request.dbsession.add(Item(name=unique()))
    return analyse.delay("x")


def test_the_row_is_deleted_after_the_dispatch_on_sqlite(lite: OutboxSite) -> None:
    assert lite.has_started(lite.visit(order))
    lite.is_empty()


def test_the_id_of_a_deleted_row_is_not_reused_on_sqlite(lite: OutboxSite) -> None:
    with without_dispatch():
        lite.visit(order)
        (gone,) = lite.rows()
        lite.store.delete([gone.id])  # for example by a relay
        lite.visit(order)
    lite.store.delete([gone.id])  # late, by the process that wrote the first row
    assert [row.id > gone.id for row in lite.rows()] == [True]


def test_relays_share_the_waiting_rows_on_sqlite(lite: OutboxSite) -> None:
    with without_dispatch():
        tasks = [lite.visit(order) for _ in range(30)]
    assert lite.store.backlog().waiting == 0
    lite.hurry()
    assert lite.store.backlog().waiting == 30
    with running(Relay(lite.app, poll_interval=0.05)), running(Relay(lite.app, poll_interval=0.05)):
        lite.is_empty()
    assert lite.has_started(*tasks)


def test_a_lease_ends_on_sqlite(lite: OutboxSite) -> None:
    with without_dispatch():
        lite.visit(order)
    lite.hurry()
    assert lite.store.claim("killed", 0.2)
    assert lite.store.claim("other", 0.2) == []
    wait_until(lambda: lite.store.claim("other", 30))
    (parked,) = [row.id for row in lite.rows()]
    lite.store.park("other", parked, "told to")
    assert lite.store.summary().last_parked[0].error == "told to"


def test_a_database_in_memory_gets_no_rows(temporal_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(url: str, **options: Any) -> Any:
        return create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})

    monkeypatch.setattr("tests.enlist.application.create_engine", make)
    site = OutboxSite("sqlite://", temporal_address)
    try:
        with without_dispatch():
            site.visit(order)
        assert site.count() == 0
        assert site.has_started(site.visit(order))
    finally:
        site.close()


# --- PostgreSQL ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_relay_is_notified_of_rows_and_survives_a_lost_database(database_url: str, driver: str) -> None:
    pytest.importorskip(driver, reason=f"this test needs the database driver {driver}")
    engine = create_engine(make_url(database_url).set(drivername=f"postgresql+{driver}"))
    store, sleep = Store(engine, "default"), Sleep(engine)
    store.create()
    try:
        for _ in range(2):
            sleep.until(0)
            assert sleep._connection is not None
            store.retry(None)
            sleep.until(3600)
            with engine.begin() as connection:
                connection.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^LISTEN'")
                )
            while sleep._connection is not None:
                sleep.until(3600)
            sleep.wake()
            sleep.until(3600)
            sleep._listen_at = 0
    finally:
        sleep.close()
        engine.dispose()


def test_alembic_sees_the_tables(postgres: str) -> None:
    autogenerate = pytest.importorskip("alembic.autogenerate", reason="migrations of the tables need alembic")
    migration = pytest.importorskip("alembic.migration", reason="migrations of the tables need alembic")
    with fresh_database(postgres) as url:
        engine = create_engine(url)
        with engine.begin() as connection:
            context = migration.MigrationContext.configure(connection, opts={"compare_type": True})
            found = autogenerate.compare_metadata(context, [Base.metadata, metadata])
            added = {entry[1].name for entry in found if entry[0] == "add_table"}
            assert added == {"items", "ptemporal_outbox", "ptemporal_receipts", "ptemporal_switch"}
            Base.metadata.create_all(connection)
            metadata.create_all(connection)
            assert autogenerate.compare_metadata(context, [Base.metadata, metadata]) == []
        engine.dispose()


# --- MySQL and MariaDB: compiled only ----------------------------------------------------------------


@pytest.fixture
def sent() -> Iterator[tuple[Store, list[str]]]:
    """A store whose statements are compiled for MySQL, and return no rows."""
    dialect = mysql.dialect()
    dialect.supports_native_boolean = True
    found: list[str] = []
    connection = mock.MagicMock()
    connection.dialect = dialect

    def compile_(statement: Any, *_: Any) -> Any:
        found.append(str(statement.compile(dialect=dialect)).replace("\n", ""))
        answer = mock.MagicMock()
        answer.all.return_value = [(1, "q", None)]
        answer.__iter__.return_value = iter([mock.MagicMock(id=1, size=10)])
        answer.inserted_primary_key = (1,)
        return answer

    connection.execute.side_effect = compile_
    connection.scalars.side_effect = lambda statement: (compile_(statement), [1])[1]
    connection.scalar.side_effect = lambda statement: (compile_(statement), 0)[1]
    engine = mock.MagicMock()
    engine.dialect = dialect
    engine.execution_options.return_value.begin.return_value.__enter__.return_value = connection
    store = Store(engine, "default")
    with mock.patch("pyramid_temporal_compat.outbox.store.Row"):
        yield store, found


def test_a_claim_in_mysql_skips_rows_that_others_have_locked(sent: tuple[Store, list[str]]) -> None:
    store, found = sent
    store.claim("one", 30)
    others, window, others_meanwhile, locked, taken, read = found
    assert "SELECT DISTINCT ptemporal_outbox.queue" in others
    assert others_meanwhile == others
    assert "ORDER BY ptemporal_outbox.due, ptemporal_outbox.id  LIMIT" in window
    assert locked.endswith("FOR UPDATE SKIP LOCKED")
    assert taken.startswith("UPDATE ptemporal_outbox SET attempts=(ptemporal_outbox.attempts + %s)")
    assert "TIMESTAMPADD(MICROSECOND, (%s) * 1000000, UTC_TIMESTAMP(6))" in taken
    assert "ptemporal_outbox.claimed_by = %s" in read


def test_a_claim_in_an_old_mysql_waits_for_rows_that_others_have_locked(sent: tuple[Store, list[str]]) -> None:
    store, found = sent
    store.engine.dialect.server_version_info = (5, 7, 44)
    store.claim("one", 30)
    assert found[3].endswith("FOR UPDATE")


def test_mysql_gets_no_statement_that_only_postgresql_knows(sent: tuple[Store, list[str]]) -> None:
    store, found = sent
    store.release([1], "away")
    store.retry(None)
    store.give_back("one", [1], None)
    store.put_off("one", 1, 5, "busy")
    store.park("one", 1, "too large")
    store.delete([1])
    store.backlog()
    store.has_newer_rows()
    assert len(found) == 10
    for statement in found:
        assert not any(
            word in statement for word in ("NOTIFY", "interval", "statement_timestamp", "hashtext", "RETURNING")
        )


def test_mysqls_tables_hold_large_rows_and_exact_names() -> None:
    tables = [str(CreateTable(table).compile(dialect=mysql.dialect())) for table in (outbox, receipts)]
    assert all("LONGBLOB NOT NULL" in table for table in tables)
    assert all("COLLATE utf8mb4_bin NOT NULL" in table for table in tables)
    assert "id BIGINT NOT NULL AUTO_INCREMENT" in tables[0]
    assert tables[0].count("DATETIME(6)") == 4
    for table in tables:
        assert all(words in table for words in ("ENGINE=InnoDB", "ROW_FORMAT=DYNAMIC", "CHARSET=utf8mb4"))
        assert "COLLATE utf8mb4_bin" in table.rpartition(")")[2]
