"""The tables, in the application's own database: what waits to be dispatched, and what is proved to be done.

They are SQLAlchemy metadata of their own, which Alembic sees beside the application's:
`target_metadata = [Base.metadata, pyramid_temporal_compat.outbox.metadata]`. Moments are the database's, see `clock`.
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


def _exact(length: int) -> mysql.VARCHAR:
    # MySQL's usual collations take `a` for `A`, and no key may be longer than 768 of its characters.
    return mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")


def _moment() -> TypeEngine[Any]:
    return DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def _bytes() -> TypeEngine[Any]:
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")  # its BLOB ends at 64 KiB


IN_MYSQL = {"engine": "InnoDB", "row_format": "DYNAMIC", "charset": "utf8mb4", "collate": "utf8mb4_bin"}
"""Whatever the database's own are: MyISAM commits nothing, shorter rows have shorter keys, and latin1 few letters."""
HOW: dict[str, Any] = {
    f"{dialect}_{name}": value for dialect in ("mysql", "mariadb") for name, value in IN_MYSQL.items()
}

metadata = MetaData()

outbox = Table(
    "ptemporal_outbox",
    metadata,
    # SQLite counts by itself only in a column that is INTEGER by name.
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column(
        "namespace",
        String(255).with_variant(_exact(255), "mysql", "mariadb"),
        nullable=False,
        comment="The Temporal namespace that the messages are for.",
    ),
    Column("queue", Text, nullable=False, comment="The queue of the first message; rows of one keep their order."),
    Column("version", SmallInteger, nullable=False, comment="How `units` is written."),
    Column("messages", Integer, nullable=False, comment="How many messages the row carries."),
    Column("units", _bytes(), nullable=False, comment="What the transaction sends, encoded as on the wire."),
    Column("created", _moment(), nullable=False),
    Column("due", _moment(), nullable=False, comment="Not before this moment does a relay take it."),
    Column("attempts", Integer, nullable=False, default=0, comment="How often a relay has taken it."),
    Column("parked", _moment(), comment="Since when it is set aside: it can't be sent as it is."),
    Column("error", Text, comment="Why the last attempt failed."),
    Column("claimed_by", Text, comment="The relay that has it, or had it last."),
    Column("claimed_until", _moment(), comment="Until then no other relay takes it."),
    # It would give the id of a row that is gone to the next one, and who was late to delete the first deletes by id.
    sqlite_autoincrement=True,
    **HOW,
)
"""One row a transaction, from its commit until the server has what it sends."""

Index(
    "ix_ptemporal_outbox_due",
    outbox.c.namespace,
    outbox.c.due,
    outbox.c.id,
    postgresql_where=outbox.c.parked.is_(None),
    sqlite_where=outbox.c.parked.is_(None),
)
# These two hold nothing in good days: a request's own INSERT does not pay for them.
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
    # Together no longer than a key of MySQL's may be.
    Column("task_id", Text().with_variant(_exact(512), "mysql", "mariadb"), primary_key=True),
    Column(
        "namespace",
        String(255).with_variant(_exact(255), "mysql", "mariadb"),
        primary_key=True,
        comment="The Temporal namespace that the task runs in.",
    ),
    Column("workflow_id", Text, nullable=False, comment="The workflow that holds the task."),
    Column("run_id", Text, nullable=False, comment="The run of that workflow."),
    Column("result", _bytes(), nullable=False, comment="What came of the task, encoded as on the wire."),
    Column("created", _moment(), nullable=False),
    **HOW,
)
"""One row a task that has ended well and has written something, inserted in its own transaction."""

Index("ix_ptemporal_receipts_created", receipts.c.namespace, receipts.c.created)


def for_all(connection: Connection) -> dict[str, Any]:
    """How a statement is executed on an application's connection so that it means the tables that relays look into.

    A session may have moved the tables of its transaction to the schema of a tenant. Ours stay where its engine sees
    them: a row elsewhere would be sent by no relay, and have the id of another tenant's.
    """
    return {"schema_translate_map": connection.engine.get_execution_options().get("schema_translate_map")}


@contextlib.contextmanager
def hiding_values() -> Iterator[None]:
    """An error in the block does not show what was about to be written: arguments, or a result."""
    try:
        yield
    except StatementError as error:
        error.hide_parameters = True
        raise
