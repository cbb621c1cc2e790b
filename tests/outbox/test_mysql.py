"""Behaviour that only MySQL and MariaDB have: their tables, their errors, and relays without an advisory lock."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, inspect, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.exceptions import PayloadTooLarge
from pyramid_temporal_compat.outbox import dialects, metadata, outbox
from pyramid_temporal_compat.outbox.receipt_store import TaskRun, insert_receipt
from pyramid_temporal_compat.outbox.store import Store, insert_row
from pyramid_temporal_compat.transactions.database_errors import conflicts_in_mysql, database_is_away
from tests.outbox import desk as tasks
from tests.outbox import killed, mariadb
from tests.outbox.desk import Desk, value_of
from tests.outbox.test_receipts_killed import PATIENCE, Site
from tests.parts import wait_until
from tests.worker.shop import Shop, seen

if not mariadb.is_there():
    pytest.skip(mariadb.MISSING, allow_module_level=True)


@pytest.fixture
def engine(mysql_database: str) -> Iterator[Engine]:
    engine = create_engine(mysql_database)
    Store(engine, "default").create()
    yield engine
    engine.dispose()


def test_the_tables_set_engine_and_collation_whatever_the_databases_defaults(mysql_database: str) -> None:
    with_its_own = create_engine(mysql_database)
    event.listen(with_its_own, "connect", lambda raw, _: raw.cursor().execute("SET default_storage_engine = MyISAM"))
    Store(with_its_own, "default").create()
    with with_its_own.connect() as connection:
        for table in metadata.tables:
            made = connection.execute(text(f"SHOW CREATE TABLE {table}")).one()[1]
            assert "ENGINE=InnoDB" in made
            assert "COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC" in made
    with_its_own.dispose()


def test_alembic_finds_no_difference(engine: Engine) -> None:
    autogenerate = pytest.importorskip("alembic.autogenerate", reason="migrations of the tables need alembic")
    migration = pytest.importorskip("alembic.migration", reason="migrations of the tables need alembic")
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = migration.MigrationContext.configure(connection, opts=options)
        assert autogenerate.compare_metadata(context, metadata) == []


def test_init_makes_the_indexes_of_a_table_that_was_made_halfway(engine: Engine) -> None:
    store = Store(engine, "default")
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_ptemporal_outbox_due ON ptemporal_outbox"))
    assert store.create() == ["ix_ptemporal_outbox_due"]
    assert store.create() == []
    assert {index["name"] for index in inspect(engine).get_indexes(outbox.name)} == {x.name for x in outbox.indexes}


# --- what is too large ---------------------------------------------------------------------------------


def put(engine: Engine, units: bytes, queue: str = "q") -> int:
    with engine.begin() as connection:
        return insert_row(connection, namespace="default", queue=queue, messages=1, units=units, wait=0)


def test_data_above_max_allowed_packet_is_refused_with_its_size(engine: Engine) -> None:
    with engine.connect() as connection:
        limit = int(connection.scalar(text("SELECT @@max_allowed_packet")))
    largest = (limit - dialects.STATEMENT_OVERHEAD) // dialects.sent_size(engine.dialect.driver, b"\xff")
    put(engine, b"\xff" * largest)
    with pytest.raises(
        PayloadTooLarge, match=r"1 messages in one row .* max_allowed_packet is .*: raise that, or store"
    ):
        put(engine, b"\xff" * (largest + dialects.STATEMENT_OVERHEAD))
    with engine.begin() as connection, pytest.raises(PayloadTooLarge, match="the receipt of a-task, with the task's"):
        insert_receipt(connection, TaskRun("a-task", "default", "w", "r"), b"x" * limit)
    (row,) = Store(engine, "default").claim("one", 30)
    assert row.units == b"\xff" * largest


@pytest.mark.parametrize(("driver", "sent"), [("pymysql", 12), ("mysqldb", 9), ("mariadbconnector", 6)])
def test_each_driver_encodes_bytes_differently(driver: str, sent: int) -> None:
    assert dialects.sent_size(driver, b"a'\\\"\xff%") == sent


# --- another's locks -----------------------------------------------------------------------------------


def test_two_relays_that_choose_at_once_do_not_share_a_queue(engine: Engine) -> None:
    store = Store(engine, "default")
    first, second, third = (put(engine, units, "a") for units in (b"1", b"2", b"3"))
    other = put(engine, b"4", "b")
    with engine.connect() as quicker:  # the quicker relay has locked the first row, and not committed yet
        quicker.execute(text(f"UPDATE ptemporal_outbox SET claimed_by = 'quicker' WHERE id = {first}"))
        assert [row.id for row in store.claim("slower", 30)] == [other]
        quicker.rollback()
    assert [row.id for row in store.claim("third", 30)] == [first, second, third]


def test_a_request_is_not_held_up_by_a_relay(engine: Engine) -> None:
    store = Store(engine, "default")
    for number in range(20):
        put(engine, b"x", f"q{number % 3}")
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as relay:
        relay.execute(outbox.update().where(outbox.c.queue == "q1").values(claimed_by="one"))
        with engine.begin() as request:
            request.execute(text("SET innodb_lock_wait_timeout = 1"))
            insert_row(request, namespace="default", queue="q1", messages=1, units=b"x", wait=0)
        relay.rollback()
    assert store.backlog().waiting == 21


def test_a_lock_timeout_is_a_conflict_that_may_be_retried(engine: Engine) -> None:
    row_id = put(engine, b"x")
    change = outbox.update().where(outbox.c.id == row_id).values(attempts=1)
    with engine.begin() as other:
        other.execute(change)
        with engine.connect() as connection:
            connection.execute(text("SET innodb_lock_wait_timeout = 1"))
            with pytest.raises(DBAPIError) as caught:
                connection.execute(change)
    assert conflicts_in_mysql(caught.value)
    assert not database_is_away(caught.value)
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(text("SELECT nothing"))
    assert not conflicts_in_mysql(caught.value)


def test_rows_are_deleted_after_a_deadlock(engine: Engine) -> None:
    ids = [put(engine, b"x") for _ in range(30)]
    first = select(outbox.c.id).where(outbox.c.id == ids[0]).with_for_update(skip_locked=True)

    def has_the_first() -> bool:
        with engine.begin() as watch:
            return watch.scalar(first) is None

    deletes = threading.Thread(target=Store(engine, "default").delete, args=[ids])
    with engine.begin() as other:
        for row_id in ids[1:]:  # row by row, so that the other transaction is the cheaper one to undo
            other.execute(outbox.update().where(outbox.c.id == row_id).values(attempts=1))
        deletes.start()
        wait_until(has_the_first)
        other.execute(outbox.update().where(outbox.c.id == ids[0]).values(attempts=1))
    deletes.join(20)
    assert Store(engine, "default").summary().rows == 0


@shared_task(bind=True)
def waits_for_a_lock(self: Any) -> int:
    session = self.pyramid_request.dbsession
    session.execute(text("SET innodb_lock_wait_timeout = 1"))
    seen["called"].append(self.request.id)
    session.execute(tasks.effects.update().values(once="mine"))
    tasks.write(self, "after")
    return len(seen["called"])


def test_a_task_whose_transaction_met_a_lock_timeout_is_retried(mysql_database: str) -> None:
    desk = Desk(mysql_database)
    with desk.engine.begin() as connection:
        connection.execute(tasks.effects.insert().values(text="before"))
    with desk.engine.connect() as other:
        other.execute(tasks.effects.update().values(once="theirs"))
        run = desk.begin(desk.job(waits_for_a_lock))
        wait_until(lambda: len(seen["called"]) == 2)
        other.rollback()
    assert value_of(run.result(20)) >= 2
    assert desk.texts() == ["before", "after"]
    desk.close()


def test_a_task_whose_worker_dies_between_commit_and_reply_is_not_run_again(
    mysql_database: str, temporal_address: str, tmp_path: Path
) -> None:
    settings = {"ptemporal.outbox": "dbsession", "ptemporal.receipts": "true", "ptemporal.heartbeat_timeout": "2"}
    shop = Shop(temporal_address, mysql_database, **settings)
    metadata.create_all(shop.engine)
    site = Site(shop, tmp_path)
    with site.worker() as worker:
        result = killed.writes_and_dies.delay(site.directory, "worker")
        assert worker.ends() == -signal.SIGKILL
    with site.worker():
        assert result.get(timeout=PATIENCE) == 1
    assert (site.calls, site.count(), shop.lines()) == (1, 1, ["effect"])
    shop.close()
