"""Follow SQLAlchemy's own savepoints: a rollback of `session.begin_nested()` drops the messages enlisted inside it.

`transaction` does not see these savepoints, so the enlistment watches sessions. It watches the sessions that have
joined the transaction, and also the sessions that will join it, because `begin_nested()` alone joins nothing yet.

Only a process that has imported SQLAlchemy imports this module: `enlistment.watch_sessions` does, when an application
is complete, when a worker starts, and at each call of a task.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlalchemy.orm.session import SessionTransaction

if TYPE_CHECKING:
    from zope.sqlalchemy.datamanager import ZopeTransactionEvents


class NestedSessions:
    """Remember, for each open nested transaction, the number of the first message that was enlisted inside it.

    Every message that is enlisted while the nested transaction is open is inside it. So its rollback drops the first
    message and all later ones.
    """

    def __init__(self, drop_from: Callable[[int], None]) -> None:
        self._drop_from = drop_from
        self._first: dict[SessionTransaction, int] = {}
        self._sessions: list[Session] = []

    def watch(self, nested: Iterable[SessionTransaction], number: int) -> None:
        """Note that these nested transactions are open as the message with this number is enlisted."""
        for each in nested:
            self._first.setdefault(each, number)
            self._listen(each.session)

    def forget(self) -> None:
        """Stop watching: a nested transaction that ends from now on ends together with the whole transaction."""
        for session in self._sessions:
            event.remove(session, "after_commit", self._committed)
            event.remove(session, "after_transaction_end", self._ended)
        self._sessions.clear()
        self._first.clear()

    def _listen(self, session: Session) -> None:
        if session not in self._sessions:
            event.listen(session, "after_commit", self._committed)
            event.listen(session, "after_transaction_end", self._ended)
            self._sessions.append(session)

    def _committed(self, session: Session) -> None:
        nested = session.get_nested_transaction()
        if nested is not None:
            self._first.pop(nested, None)

    def _ended(self, session: Session, ended: SessionTransaction) -> None:
        # A nested transaction that is still remembered here has ended without a commit. SQLAlchemy has no event that
        # says "rolled back" for a nested transaction whose flush has failed.
        number = self._first.pop(ended, None)
        if number is not None:
            self._drop_from(number)


def open_nested(transaction: Any) -> list[SessionTransaction]:
    """Return the open nested transactions of all sessions that have joined `transaction`, or will join it."""
    sessions = [getattr(member, "session", None) for member in transaction._resources]
    if _this_thread.sessions:  # most threads never begin one, and listing a WeakSet is slow
        sessions += [session for session in list(_this_thread.sessions) if _will_join(session, transaction._manager)]
    found = []
    for session in sessions:
        nested = session.get_nested_transaction() if isinstance(session, Session) else None
        while nested is not None and nested.nested:
            found.append(nested)
            nested = nested.parent
    return found


class _ThreadSessions(threading.local):
    def __init__(self) -> None:
        self.sessions: weakref.WeakSet[Session] = weakref.WeakSet()


_this_thread = _ThreadSessions()
"""The sessions that have begun a nested transaction on this thread."""


def _created(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        _this_thread.sessions.add(session)


event.listen(Session, "after_transaction_create", _created)


def _will_join(session: Session, manager: Any) -> bool:
    """Return whether zope.sqlalchemy will join this session to this manager's transaction at its next use."""
    zope: Any = sys.modules.get("zope.sqlalchemy.datamanager")  # importing it imports every database driver: 0.2 s
    if zope is None or not session.in_nested_transaction():
        return False
    events: type[ZopeTransactionEvents] = zope.ZopeTransactionEvents
    owners = (getattr(listener, "__self__", None) for listener in session.dispatch.after_begin)
    return any(
        getattr(owner.transaction_manager, "manager", owner.transaction_manager) is manager
        for owner in owners
        if isinstance(owner, events)
    )
