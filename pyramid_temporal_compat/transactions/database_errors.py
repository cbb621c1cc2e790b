"""Tell from a database error what happened: the database is away, another transaction was in the way, or neither.

Drivers of PostgreSQL identify an error by its SQLSTATE, drivers of MySQL and MariaDB by a number, SQLite by a text.
Nothing here imports SQLAlchemy: in a process that has not imported it, no error can be one of its errors.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

CONNECTION_EXCEPTION, OUT_OF_RESOURCES = "08", "53"
"""Classes of SQLSTATEs. The second covers a full disk, missing memory, and too many connections."""
SHUTS_DOWN = ("57P01", "57P02", "57P03", "57P05")
"""SQLSTATEs of PostgreSQL: an administrator stops it, it has crashed, it is starting, the session was idle too long."""
POSTGRESQL_TIMEOUTS = ("55P03", "57014")
"""SQLSTATEs of PostgreSQL's `lock_timeout` and its `statement_timeout`."""
POSTGRESQL_DEADLOCK = "40P01"

MYSQL_AWAY = frozenset({1040, 1053, 1203, 2002, 2003, 2005, 2006, 2013, 2055, 4031})
"""Errors of MySQL and MariaDB: a connection can't be made, or was lost."""
MYSQL_LOCK_TIMEOUT, MYSQL_DEADLOCK = 1205, 1213
MYSQL_CONFLICTS = frozenset({1020, MYSQL_LOCK_TIMEOUT, MYSQL_DEADLOCK})
"""Errors of MySQL and MariaDB: a row changed after the transaction began, a lock timeout, a deadlock.

zope.sqlalchemy recognises only the deadlock, and only as one driver raises it.
"""
MYSQL_DRIVERS = ("pymysql", "MySQLdb", "mysql", "mariadb", "asyncmy", "aiomysql")
"""The packages that raise the errors of MySQL and MariaDB."""

SQLITE_LOCKED = ("database is locked", "database table is locked")
SQLALCHEMY_RECONNECT = "8s2b"
"""SQLAlchemy's code for the reuse of a session after its connection was lost."""


def database_is_away(error: BaseException) -> bool:
    """Return whether a connection was lost or can't be made, so that the same work may succeed later."""
    errors = sys.modules.get("sqlalchemy.exc")
    if errors is None or not hasattr(errors, "OperationalError"):  # not imported, or another thread imports it now
        return False
    if isinstance(error, errors.PendingRollbackError):
        return bool(error.code == SQLALCHEMY_RECONNECT)
    if not isinstance(error, errors.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    return isinstance(error, (errors.OperationalError, errors.InterfaceError)) and _concerns_connection(error.orig)


def conflicts_in_mysql(error: BaseException) -> bool:
    """Return whether MySQL or MariaDB says that the same transaction may succeed if it is tried again at once."""
    from_driver = getattr(sys.modules.get("sqlalchemy.exc"), "DBAPIError", None)  # None as in `database_is_away`
    return from_driver is not None and isinstance(error, from_driver) and _mysql_number(error.orig) in MYSQL_CONFLICTS


def is_lock_timeout(error: DBAPIError) -> bool:
    """Return whether a statement waited too long for a lock. The statement must be one that waits for nothing else."""
    return _sqlstate(error.orig) in POSTGRESQL_TIMEOUTS or _mysql_number(error.orig) == MYSQL_LOCK_TIMEOUT


def is_deadlock(error: DBAPIError) -> bool:
    """Return whether the database ended the transaction to resolve a deadlock."""
    return _sqlstate(error.orig) == POSTGRESQL_DEADLOCK or _mysql_number(error.orig) == MYSQL_DEADLOCK


def _concerns_connection(error: BaseException | None) -> bool:
    driver = type(error).__module__.partition(".")[0]
    if driver == "sqlite3":
        return str(error).startswith(SQLITE_LOCKED)
    # The number first: for some of these errors MySQL's SQLSTATE does not say that the connection is concerned.
    if _number(error) in MYSQL_AWAY:
        return True
    if (state := _sqlstate(error)) is not None:
        return state[:2] in (CONNECTION_EXCEPTION, OUT_OF_RESOURCES) or state in SHUTS_DOWN
    return driver.startswith("psycopg")  # psycopg reached no server: a server would have named an SQLSTATE


def _sqlstate(error: BaseException | None) -> str | None:
    """Return the SQLSTATE of an error from a PostgreSQL driver."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None


def _number(error: BaseException | None) -> int | None:
    """Return the number of a MySQL error. Some drivers have it in `errno`, the others as the first argument."""
    number = getattr(error, "errno", None)
    if number is None and error is not None and error.args:
        number = error.args[0]
    return number if isinstance(number, int) else None


def _mysql_number(error: BaseException | None) -> int | None:
    """Return the number of an error that a MySQL driver raised; None for every other error."""
    return _number(error) if type(error).__module__.partition(".")[0] in MYSQL_DRIVERS else None
