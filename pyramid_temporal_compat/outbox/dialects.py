"""What PostgreSQL, SQLite, MySQL and MariaDB do differently: their clocks, their locks, the size of a statement."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import DateTime, text
from sqlalchemy.engine import Engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from ..exceptions import PayloadTooLarge

# --- the clock -----------------------------------------------------------------------------------
# All times in the tables are the database's: several hosts read and write them, and their own clocks differ.


class in_seconds(FunctionElement[Any]):
    """SQL for the moment that is so many seconds from now; a negative number gives a moment in the past."""

    type = DateTime(timezone=True)
    inherit_cache = True


def now() -> in_seconds:
    """Return SQL for the present moment."""
    return in_seconds(0.0)


def between(earlier: datetime.datetime, later: datetime.datetime) -> datetime.timedelta:
    """Return the time between two moments of the database's clock.

    psycopg returns both moments in the database's time zone. Python subtracts two times of the same zone as wall clocks
    show them, which is an hour off if summer time begins or ends between them. So both become UTC first.
    """
    return _as_utc(later) - _as_utc(earlier)


def _as_utc(moment: datetime.datetime) -> datetime.datetime:
    return moment if moment.tzinfo is None else moment.astimezone(datetime.timezone.utc)


@compiles(in_seconds)
def _standard(element: in_seconds, compiler: Any, **options: Any) -> str:
    # PostgreSQL's now() is the moment when the transaction began, which is long ago in a long request. Its
    # clock_timestamp() may change while a statement reads, so PostgreSQL can't look it up in an index.
    seconds = compiler.process(element.clauses, **options)
    return f"(statement_timestamp() + ({seconds}) * interval '1 second')"


@compiles(in_seconds, "sqlite")
def _sqlite(element: in_seconds, compiler: Any, **options: Any) -> str:
    # SQLAlchemy writes a datetime to SQLite as text in this format. In one format, texts compare as the moments do.
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', ({seconds}) || ' seconds') || '000')"


@compiles(in_seconds, "mysql", "mariadb")
def _mysql(element: in_seconds, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"TIMESTAMPADD(MICROSECOND, ({seconds}) * 1000000, UTC_TIMESTAMP(6))"


# --- locks and isolation -------------------------------------------------------------------------

SKIP_LOCKED = {"mysql": (8, 0, 1), "mariadb": (10, 6)}
"""The first releases that have SKIP LOCKED."""
HAS_ROW_LOCKS = ("postgresql", "mysql", "mariadb")
"""The databases that lock rows. SQLite locks the whole database."""


def skips_locked(dialect: Any) -> bool:
    """Return whether the database has SKIP LOCKED. Without it a relay waits where it would otherwise go on."""
    if dialect.name not in ("mysql", "mariadb"):
        return True
    known = SKIP_LOCKED["mariadb" if dialect.is_mariadb else "mysql"]
    return (dialect.server_version_info or known) >= known


def reading_committed(engine: Engine) -> Engine:
    """Return the engine with READ COMMITTED transactions.

    They see what other transactions commit meanwhile, and lock only the rows that they change.
    """
    return (
        engine.execution_options(isolation_level="READ COMMITTED") if engine.dialect.name in HAS_ROW_LOCKS else engine
    )


# --- MySQL's limit on a statement ----------------------------------------------------------------
# MySQL does not refuse a statement above `max_allowed_packet`: it cuts the connection while the statement is sent. That
# looks like a database that went away, and the statement would be tried again for ever. So its size is checked before.

SMALL_STATEMENT = 256 * 1024
"""Bytes that every server accepts: up to here the server is not asked for its limit."""
STATEMENT_OVERHEAD = 8 * 1024
"""Bytes of a statement beside its data."""
ESCAPED = (b"'", b'"', b"\\", b"\0", b"\n", b"\r", b"\x1a")


def check_size(connection: Any, data: bytes, what: str) -> None:
    """Raise `PayloadTooLarge` if a MySQL or MariaDB server does not accept a statement with this data."""
    if len(data) <= SMALL_STATEMENT or connection.dialect.name not in ("mysql", "mariadb"):
        return
    size = STATEMENT_OVERHEAD + sent_size(connection.dialect.driver, data)
    limit = int(connection.scalar(text("SELECT @@max_allowed_packet")))
    if size > limit:
        raise PayloadTooLarge(
            f"{what} takes {len(data):,} bytes, {size:,} as the driver {connection.dialect.driver} sends it, and the "
            f"database's max_allowed_packet is {limit:,}: raise that, or store the data and pass its key"
        )


def sent_size(driver: str, data: bytes) -> int:
    """Return how many bytes the driver sends for this data."""
    if driver == "mariadbconnector":
        return len(data)
    if driver == "pymysql":  # as hexadecimal digits
        return 2 * len(data)
    return len(data) + sum(data.count(byte) for byte in ESCAPED)
