"""An app's outbox: write a transaction's messages as rows in its own database, until the server has accepted them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import Engine
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session
from sqlalchemy.pool import SingletonThreadPool, StaticPool
from zope.sqlalchemy.datamanager import ZopeTransactionEvents

from ..log_lines.throttled_log import ThrottledLog
from ..message.celery_call import CeleryCall
from ..message.outgoing import Outgoing, count_of
from ..payload.codecs import chain
from . import row_format
from .sessions import connection_of, engine_of, join, session_of
from .store import Store, insert_row
from .sweeper import LAST_ROWS, Sweeper

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

IN_MEMORY = (StaticPool, SingletonThreadPool)
"""The connection pools of databases in the process' memory."""


class Outbox:
    """Opens the outbox rows of each transaction. An app has one in each process; every thread may use it."""

    def __init__(self, app: AppLike) -> None:
        self.app = app
        self.name: str = app.conf["ptemporal.outbox"]
        self.namespace = app.temporal.settings.namespace
        self.codec = chain(app.codecs())
        self.grace = 2 * app.conf["ptemporal.dispatch_timeout"]
        """Seconds in which only the web process sends a new row. Later a relay may take it."""
        self._sweepers: dict[Engine, Sweeper] = {}
        self._lock = threading.Lock()
        self._waiting = ThrottledLog(log, logging.WARNING)

    def open(self, transaction: Any) -> TransactionRows | None:
        """Return an object that will write this transaction's rows; None for a database in memory.

        Raises `ImproperlyConfigured` if the session of `ptemporal.outbox` does not take part in this transaction.
        """
        session, events = session_of(self.name, transaction)
        engine = engine_of(self.name, session)
        if isinstance(engine.pool, IN_MEMORY):
            # Its rows would not outlive the process, and its one connection is busy with the request.
            return None
        return TransactionRows(self, transaction, session, events, engine)

    def sweeper(self, engine: Engine) -> Sweeper:
        """Return the sweeper of this database, started when first asked for."""
        with self._lock:
            if engine not in self._sweepers:
                self._sweepers[engine] = Sweeper(Store(engine, self.namespace))
            return self._sweepers[engine]

    def close(self) -> None:
        """Wait up to `LAST_ROWS` seconds for each sweeper to finish its jobs."""
        for sweeper in list(self._sweepers.values()):
            sweeper.flush(LAST_ROWS)

    def warn_of_waiting(self, count: int, reason: BaseException) -> None:
        self._waiting.say(
            "%d messages were committed and not started yet, and wait in the outbox: %s; a relay sends them "
            "(each worker has one; ptemporal-compat outbox status shows what waits)",
            reason,
            count=count,
        )


class TransactionRows:
    """The outbox rows of one transaction: usually one row, and one for each message that comes late.

    It belongs to the transaction's thread, and after the commit to the dispatch.
    """

    def __init__(
        self, outbox: Outbox, transaction: Any, session: Session, events: ZopeTransactionEvents, engine: Engine
    ) -> None:
        self._outbox = outbox
        self._transaction: Any = transaction
        self._session: Session | None = session
        self._events = events
        self._engine = engine
        self._rows: dict[int, frozenset[str]] = {}
        """The ids of the units in each row."""
        self._due: set[int] = set()
        """Rows that a relay may take at once, because the server was known to be away when they were written."""

    def join_session(self) -> None:
        """Make the session take part in the transaction. A transaction that commits takes no new members."""
        if self._session is not None:
            join(self._session, self._events, self._transaction)

    def write(self, units: Sequence[Outgoing]) -> None:
        """Insert one row with these units in the transaction, and one with the units for Celery.

        So no message is published a second time because the server was away, nor the other way round.
        """
        if self._session is None:
            return
        for_celery = [unit for unit in units if isinstance(unit, CeleryCall)]
        for_server = [unit for unit in units if not isinstance(unit, CeleryCall)]
        absent = self._outbox.app.dispatcher.absence.lasts
        if for_server:
            self._insert(self._session, for_server, absent)
        if for_celery:
            self._insert(self._session, for_celery, False)

    def _insert(self, session: Session, units: Sequence[Outgoing], absent: bool) -> None:
        self.join_session()  # again: the application may have closed the session since
        connection = connection_of(session)
        row_id = insert_row(
            connection,
            namespace=self._outbox.namespace,
            queue=units[0].queue,
            messages=count_of(units),
            units=row_format.encode_units(units, self._outbox.codec),
            wait=0 if absent else self._outbox.grace,
        )
        self._events.mark_changed(session)
        self._rows[row_id] = frozenset(unit.id for unit in units)
        if absent:
            self._due.add(row_id)

    def write_late(self, unit: Outgoing) -> None:
        """Insert a row for a message that is enlisted while the transaction commits.

        A session that has committed already can't write. Then no row keeps the message: only the dispatch sends it.
        """
        if self._session is None or not self._session.in_transaction():
            return
        try:
            self.write([unit])
        except InvalidRequestError:  # the session is prepared or closed
            log.debug("not kept in the outbox: %s[%s]", unit.task, unit.id, exc_info=True)

    def release_session(self) -> None:
        """Let go of the session and the transaction, which is over."""
        self._session = self._transaction = None

    def dispatch(self, units: Sequence[Outgoing]) -> None:
        """Start the units; `record_dispatch` gets the result."""
        self._outbox.app.dispatcher.after_commit(units, self)

    def record_dispatch(
        self, started: Sequence[Outgoing], failed: Sequence[tuple[Outgoing, BaseException]]
    ) -> list[tuple[Outgoing, BaseException]]:
        """Record the result of a dispatch. Return the messages that failed and that no outbox row keeps.

        The sweeper deletes the rows whose units have all started, and releases the other rows to a relay.
        """
        started_ids = {unit.id for unit in started}
        failed_ids = {unit.id for unit, _ in failed}
        done = [row_id for row_id, ids in self._rows.items() if ids <= started_ids]
        remaining = [row_id for row_id, ids in self._rows.items() if ids & failed_ids]
        sweeper = self._outbox.sweeper(self._engine)
        if done:
            sweeper.delete(done)
        kept_ids = frozenset[str]().union(*(self._rows[row_id] for row_id in remaining))
        waiting = [(unit, reason) for unit, reason in failed if unit.id in kept_ids]
        if waiting:
            reason = waiting[0][1]
            sweeper.release([row_id for row_id in remaining if row_id not in self._due], str(reason))
            self._outbox.warn_of_waiting(count_of([unit for unit, _ in waiting]), reason)
        return [(unit, reason) for unit, reason in failed if unit.id not in kept_ids]
