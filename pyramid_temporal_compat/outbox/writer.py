"""An app's outbox: keeps what a transaction sends in its own database until the server has it."""

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

from ..message.tree import Unit
from ..payload.codecs import chain
from ..throttled_log import Seldom
from . import rows
from .sessions import connection_of, engine_of, join, session_of
from .store import Store, insert_row
from .sweeper import LAST_ROWS, Sweeper

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

IN_MEMORY = (StaticPool, SingletonThreadPool)
"""The pools of databases that live in the process."""


class Outbox:
    """One for each app and process. For every thread."""

    def __init__(self, app: AppLike) -> None:
        self.app = app
        self.name: str = app.conf["ptemporal.outbox"]
        self.namespace = app.temporal.settings.namespace
        self.codec = chain(app.codecs())
        self.grace = 2 * app.conf["ptemporal.dispatch_timeout"]
        """Seconds in which a row is the fast path's: a relay sees only what that has left."""
        self._sweepers: dict[Engine, Sweeper] = {}
        self._lock = threading.Lock()
        self._left = Seldom(log, logging.WARNING)

    def open(self, transaction: Any) -> Kept | None:
        """A place for what this transaction sends. Raises `ImproperlyConfigured` where it has no session."""
        session, events = session_of(self.name, transaction)
        engine = engine_of(self.name, session)
        if isinstance(engine.pool, IN_MEMORY):
            return None  # it would be gone with the process, and is one connection, which is the request's
        return Kept(self, transaction, session, events, engine)

    def sweeper(self, engine: Engine) -> Sweeper:
        with self._lock:
            if engine not in self._sweepers:
                self._sweepers[engine] = Sweeper(Store(engine, self.namespace))
            return self._sweepers[engine]

    def close(self) -> None:
        """Wait a moment for what is still done to rows."""
        for sweeper in list(self._sweepers.values()):
            sweeper.flush(LAST_ROWS)

    def tell_left(self, count: int, reason: BaseException) -> None:
        self._left.say(
            "%d messages were committed and not started yet, and wait in the outbox: %s; a relay sends them "
            "(each worker has one; ptemporal-compat outbox status shows what waits)",
            reason,
            count=count,
        )


class Kept:
    """What one transaction keeps in the outbox. Belongs to the transaction's thread, and then to its dispatch."""

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
        """Rows that a relay may take at once: the server was known to be away as they were written."""

    def join(self) -> None:
        """Have the session take part in the transaction: once that commits, it takes no new members."""
        if self._session is not None:
            join(self._session, self._events, self._transaction)

    def keep(self, units: Sequence[Unit]) -> None:
        """Write a row with these units, in the transaction."""
        if not units or self._session is None:
            return
        self.join()  # again: it may have been closed since
        connection = connection_of(self._session)
        absent = self._outbox.app.dispatcher.absence.lasts
        row_id = insert_row(
            connection,
            namespace=self._outbox.namespace,
            queue=units[0].queue,
            messages=sum(len(unit.messages) for unit in units),
            units=rows.write(units, self._outbox.codec),
            wait=0 if absent else self._outbox.grace,
        )
        self._events.mark_changed(self._session)
        self._rows[row_id] = frozenset(unit.id for unit in units)
        if absent:
            self._due.add(row_id)

    def keep_late(self, unit: Unit) -> None:
        """The same for what is called while the transaction commits, if its session has not done so yet."""
        if self._session is None or not self._session.in_transaction():
            return
        try:
            self.keep([unit])
        except InvalidRequestError:  # it is prepared, or closed: this one leaves with the hook alone
            log.debug("not kept in the outbox: %s[%s]", unit.task, unit.id, exc_info=True)

    def forget(self) -> None:
        """The transaction is over."""
        self._session = self._transaction = None

    def dispatch(self, units: Sequence[Unit]) -> None:
        self._outbox.app.dispatcher.after_commit(units, self)

    def settle(
        self, started: Sequence[Unit], lost: Sequence[tuple[Unit, BaseException]]
    ) -> list[tuple[Unit, BaseException]]:
        """The dispatch has ended so. Gives what is lost indeed: what no row holds."""
        have = {unit.id for unit in started}
        done = [row_id for row_id, ids in self._rows.items() if ids <= have]
        left = [row_id for row_id in self._rows if row_id not in done]
        sweeper = self._outbox.sweeper(self._engine)
        if done:
            sweeper.delete(done)
        held = frozenset[str]().union(*(self._rows[row_id] for row_id in left))
        waiting = [(unit, reason) for unit, reason in lost if unit.id in held]
        if waiting:
            reason = waiting[0][1]
            sweeper.release([row_id for row_id in left if row_id not in self._due], str(reason))
            self._outbox.tell_left(sum(len(unit.messages) for unit, _ in waiting), reason)
        return [(unit, reason) for unit, reason in lost if unit.id not in held]
