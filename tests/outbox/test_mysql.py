"""What is MySQL's and MariaDB's own: their tables, their errors, and of relays that do not take turns."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, event, inspect, text

from pyramid_temporal_compat.outbox import metadata, outbox
from pyramid_temporal_compat.outbox.store import Store
from tests.outbox import mariadb

if not mariadb.is_there():
    pytest.skip(mariadb.MISSING, allow_module_level=True)


def test_the_tables_say_what_the_database_may_not(mysql_database: str) -> None:
    with_its_own = create_engine(mysql_database)
    event.listen(with_its_own, "connect", lambda raw, _: raw.cursor().execute("SET default_storage_engine = MyISAM"))
    Store(with_its_own, "default").create()
    with with_its_own.connect() as connection:
        for table in metadata.tables:
            made = connection.execute(text(f"SHOW CREATE TABLE {table}")).one()[1]
            assert "ENGINE=InnoDB" in made
            assert "COLLATE=utf8mb4_bin ROW_FORMAT=DYNAMIC" in made
    with_its_own.dispose()


def test_alembic_finds_no_difference(mysql_database: str) -> None:
    autogenerate = pytest.importorskip("alembic.autogenerate")
    migration = pytest.importorskip("alembic.migration")
    engine = create_engine(mysql_database)
    Store(engine, "default").create()
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = migration.MigrationContext.configure(connection, opts=options)
        assert autogenerate.compare_metadata(context, metadata) == []
    engine.dispose()


def test_init_makes_the_indexes_of_a_table_that_was_made_halfway(mysql_database: str) -> None:
    engine = create_engine(mysql_database)
    store = Store(engine, "default")
    store.create()
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_ptemporal_outbox_due ON ptemporal_outbox"))
    assert store.create() == ["ix_ptemporal_outbox_due"]
    assert store.create() == []
    assert {index["name"] for index in inspect(engine).get_indexes(outbox.name)} == {x.name for x in outbox.indexes}
    engine.dispose()
