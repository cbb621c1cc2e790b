"""The tables in the application's own database: the outbox, with messages that wait for dispatch, the receipts, and the
rules of a move from Celery.

The tables have SQLAlchemy metadata of their own. Alembic takes it beside the application's metadata:
`target_metadata = [Base.metadata, pyramid_temporal_compat.outbox.metadata]`. All times are the database's, see
`dialects`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Connection
from sqlalchemy.exc import StatementError
from sqlalchemy.types import TypeEngine


def _for_mysql(general: TypeEngine[Any], mysqls: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return a type that is `mysqls` on MySQL and MariaDB, and `general` elsewhere."""
    # One call for each dialect: SQLAlchemy 1.4 takes no list of them.
    return general.with_variant(mysqls, "mysql").with_variant(mysqls, "mariadb")


def _exact(length: int) -> mysql.VARCHAR:
    # MySQL's default collations treat `a` and `A` as equal. A key in MySQL may have at most 768 characters.
    return mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")


def _moment() -> TypeEngine[Any]:
    return _for_mysql(DateTime(timezone=True), mysql.DATETIME(fsp=6))


def _bytes() -> TypeEngine[Any]:
    return _for_mysql(LargeBinary(), mysql.LONGBLOB())  # MySQL's BLOB ends at 64 KiB


IN_MYSQL = {"engine": "InnoDB", "row_format": "DYNAMIC", "charset": "utf8mb4", "collate": "utf8mb4_bin"}
"""Options of our tables, because the database's defaults may not do: MyISAM has no transactions, other row formats have
shorter keys, and latin1 has few letters."""
TABLE_OPTIONS: dict[str, Any] = {
    f"{dialect}_{name}": value for dialect in ("mysql", "mariadb") for name, value in IN_MYSQL.items()
}

metadata = MetaData()

outbox = Table(
    "ptemporal_outbox",
    metadata,
    # SQLite numbers rows by itself only if the column's type is spelled INTEGER.
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column(
        "namespace",
        _for_mysql(String(255), _exact(255)),
        nullable=False,
        comment="The Temporal namespace that the messages are for.",
    ),
    Column(
        "queue", Text, nullable=False, comment="The queue of the first message; the rows of a queue keep their order."
    ),
    Column("version", SmallInteger, nullable=False, comment="The format of `units`."),
    Column("messages", Integer, nullable=False, comment="How many messages the row carries."),
    Column("units", _bytes(), nullable=False, comment="The transaction's messages, encoded as on the wire."),
    Column("created", _moment(), nullable=False),
    Column("due", _moment(), nullable=False, comment="No relay takes the row before this moment."),
    Column("attempts", Integer, nullable=False, default=0, comment="How often a relay has taken the row."),
    Column("parked", _moment(), comment="Since when the row is parked: it can't be sent as it is."),
    Column("error", Text, comment="Why the last attempt failed."),
    Column("claimed_by", Text, comment="The relay that has the row, or had it last."),
    Column("claimed_until", _moment(), comment="Until then no other relay takes the row."),
    # Without this, SQLite reuses the id of a deleted row. A late second delete of the old row would delete the new one.
    sqlite_autoincrement=True,
    **TABLE_OPTIONS,
)
"""One row for each transaction, from its commit until the server has accepted its messages."""

Index(
    "ix_ptemporal_outbox_due",
    outbox.c.namespace,
    outbox.c.due,
    outbox.c.id,
    postgresql_where=outbox.c.parked.is_(None),
    sqlite_where=outbox.c.parked.is_(None),
)
# These two indexes are partial, and empty while all goes well: they cost a request's INSERT nothing.
Index(
    "ix_ptemporal_outbox_claimed",
    outbox.c.namespace,
    outbox.c.claimed_until,
    postgresql_where=outbox.c.claimed_until.is_not(None),
    sqlite_where=outbox.c.claimed_until.is_not(None),
)
Index(
    "ix_ptemporal_outbox_parked",
    outbox.c.namespace,
    outbox.c.parked,
    postgresql_where=outbox.c.parked.is_not(None),
    sqlite_where=outbox.c.parked.is_not(None),
)

receipts = Table(
    "ptemporal_receipts",
    metadata,
    # The two key columns together stay within the longest key that MySQL allows.
    Column("task_id", _for_mysql(Text(), _exact(512)), primary_key=True),
    Column(
        "namespace",
        _for_mysql(String(255), _exact(255)),
        primary_key=True,
        comment="The Temporal namespace that the task runs in.",
    ),
    Column("workflow_id", Text, nullable=False, comment="The workflow that holds the task."),
    Column("run_id", Text, nullable=False, comment="The run of that workflow."),
    Column("result", _bytes(), nullable=False, comment="The task's outcome, encoded as on the wire."),
    Column("created", _moment(), nullable=False),
    **TABLE_OPTIONS,
)
"""One row for each task that succeeded and wrote something, inserted in the task's own transaction."""

Index("ix_ptemporal_receipts_created", receipts.c.namespace, receipts.c.created)

switch = Table(
    "ptemporal_switch",
    metadata,
    Column(
        "namespace",
        _for_mysql(String(255), _exact(255)),
        primary_key=True,
        comment="The Temporal namespace of the processes that follow the rules.",
    ),
    Column("rules", Text, nullable=False, comment="The rules as JSON."),
    Column("changed", _moment(), nullable=False),
    **TABLE_OPTIONS,
)
"""At most one row for each namespace: which calls go to Celery during a move."""


def for_all(connection: Connection) -> dict[str, Any]:
    """Return execution options under which a statement finds our tables in the engine's own schema.

    A session may map the tables of its transaction to the schema of a tenant. Our tables are not mapped: no relay would
    send a row in a tenant's schema, and two tenants' rows could have the same id.
    """
    return {"schema_translate_map": connection.engine.get_execution_options().get("schema_translate_map")}


@contextlib.contextmanager
def hiding_values() -> Iterator[None]:
    """Keep the values of a statement, such as a task's arguments or result, out of the error that the block raises."""
    try:
        yield
    except StatementError as error:
        error.hide_parameters = True
        raise
