"""Whether a transaction failed since it met another one, where zope.sqlalchemy does not say so."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..outbox.database_errors import number_of, state_of

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

LOCK_TIMEOUT, DEADLOCK = 1205, 1213
MYSQL = frozenset({1020, LOCK_TIMEOUT, DEADLOCK})
"""Its errors, and MariaDB's: a row has changed since the transaction began, a lock was waited for in vain, a deadlock.

zope.sqlalchemy knows the last one, and of one driver.
"""
POSTGRESQL_TIMEOUTS = ("55P03", "57014")
"""SQLSTATEs of its `lock_timeout` and its `statement_timeout`."""
POSTGRESQL_DEADLOCK = "40P01"
FROM_MYSQL = ("pymysql", "MySQLdb", "mysql", "mariadb", "asyncmy", "aiomysql")
"""Where their drivers' errors are from."""


def met_another(error: BaseException) -> bool:
    """Whether MySQL says, through SQLAlchemy, that the same transaction may go well at once."""
    # Not imported, or another thread is at it: then this is no error of its.
    from_driver = getattr(sys.modules.get("sqlalchemy.exc"), "DBAPIError", None)
    return from_driver is not None and isinstance(error, from_driver) and _number_in_mysql(error.orig) in MYSQL


def waited_in_vain(error: DBAPIError) -> bool:
    """Whether a statement that waits for nothing but a lock did so for too long."""
    return state_of(error.orig) in POSTGRESQL_TIMEOUTS or _number_in_mysql(error.orig) == LOCK_TIMEOUT


def is_deadlock(error: DBAPIError) -> bool:
    return state_of(error.orig) == POSTGRESQL_DEADLOCK or _number_in_mysql(error.orig) == DEADLOCK


def _number_in_mysql(error: BaseException | None) -> int | None:
    return number_of(error) if type(error).__module__.partition(".")[0] in FROM_MYSQL else None
