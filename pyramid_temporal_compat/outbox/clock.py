"""The database's clock, in SQL: several hosts write and read the tables, and only this clock is one."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import DateTime
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class in_seconds(FunctionElement[Any]):
    """The moment so many seconds from now; before now, if they are negative."""

    type = DateTime(timezone=True)
    inherit_cache = True


def now() -> in_seconds:
    return in_seconds(0.0)


def between(earlier: datetime.datetime, later: datetime.datetime) -> datetime.timedelta:
    """How long it was from one moment of the database's clock to another.

    psycopg gives both in the database's time zone, and Python subtracts two times of one zone as its wall clocks show
    them: an hour off where summer time began or ended between.
    """
    return _as_utc(later) - _as_utc(earlier)


def _as_utc(moment: datetime.datetime) -> datetime.datetime:
    return moment if moment.tzinfo is None else moment.astimezone(datetime.timezone.utc)


@compiles(in_seconds)
def _standard(element: in_seconds, compiler: Any, **options: Any) -> str:
    # Its now() is when the transaction began, which for a long request is long ago; and no index is asked with
    # clock_timestamp(), which may change while it is read.
    seconds = compiler.process(element.clauses, **options)
    return f"(statement_timestamp() + ({seconds}) * interval '1 second')"


@compiles(in_seconds, "sqlite")
def _sqlite(element: in_seconds, compiler: Any, **options: Any) -> str:
    # Written as SQLAlchemy writes a datetime there, so that texts compare as the moments do.
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', ({seconds}) || ' seconds') || '000')"


@compiles(in_seconds, "mysql", "mariadb")
def _mysql(element: in_seconds, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"TIMESTAMPADD(MICROSECOND, ({seconds}) * 1000000, UTC_TIMESTAMP(6))"
