"""Whether a run failed of its database's absence, and not of what it asked of it."""

from __future__ import annotations

import sys

CONNECTION_EXCEPTION, OUT_OF_RESOURCES = "08", "53"
"""Classes of SQLSTATEs. The second: a full disk, no memory, more connections than it takes."""
SHUTS_DOWN = ("57P01", "57P02", "57P03", "57P05")
"""SQLSTATEs of PostgreSQL: it is told to stop, it has crashed, it starts, it was idle."""
MYSQL = frozenset({1040, 1053, 1203, 2002, 2003, 2005, 2006, 2013, 2055, 4031})
"""Errors of MySQL and MariaDB: no connection to be had, or the one there was is lost."""
SQLITE = ("database is locked", "database table is locked")
RECONNECT = "8s2b"
"""SQLAlchemy's code for a session that was used again after its connection was lost."""


def database_is_away(error: BaseException) -> bool:
    """Whether SQLAlchemy says that a connection was lost, or can't be made: what was asked may well succeed later."""
    errors = sys.modules.get("sqlalchemy.exc")
    if errors is None or not hasattr(errors, "OperationalError"):  # then this is no error of its
        return False
    if isinstance(error, errors.PendingRollbackError):
        return bool(error.code == RECONNECT)
    if not isinstance(error, errors.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    return isinstance(error, (errors.OperationalError, errors.InterfaceError)) and _is_of_the_connection(error.orig)


def _is_of_the_connection(error: BaseException | None) -> bool:
    driver = type(error).__module__.partition(".")[0]
    if driver == "sqlite3":
        return str(error).startswith(SQLITE)
    if number_of(error) in MYSQL:  # before the state, in which not all of them are of the connection
        return True
    if (state := state_of(error)) is not None:
        return state[:2] in (CONNECTION_EXCEPTION, OUT_OF_RESOURCES) or state in SHUTS_DOWN
    return driver.startswith("psycopg")  # it never came to a server that could have named a state


def state_of(error: BaseException | None) -> str | None:
    """The SQLSTATE of an error of PostgreSQL's drivers."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None


def number_of(error: BaseException | None) -> int | None:
    """What MySQL numbers its errors with; its drivers agree on that, and not on where it is."""
    number = getattr(error, "errno", None)
    if number is None and error is not None and error.args:
        number = error.args[0]
    return number if isinstance(number, int) else None
