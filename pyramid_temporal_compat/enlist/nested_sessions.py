"""SQLAlchemy's own savepoints: a message enlisted inside `session.begin_nested()` goes when that rolls back.

`transaction` does not see these savepoints, so the enlistment looks at the sessions that have joined, and at
those that will: `begin_nested()` alone makes a session join nothing yet.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction
from zope.sqlalchemy.datamanager import ZopeTransactionEvents


class NestedSessions:
    """Remembers, for each open nested transaction, the number of the first message that was enlisted inside it.

    What is enlisted while it is open is enlisted inside it, so a rollback drops that message and all later ones.
    """

    def __init__(self, drop_from: Callable[[int], None]) -> None:
        self._drop_from = drop_from
        self._first: dict[SessionTransaction, int] = {}
        self._sessions: list[Session] = []

    def watch(self, transaction: Any, number: int) -> None:
        """The message with this number is about to be enlisted in `transaction`."""
        joined = [getattr(member, "session", None) for member in transaction._resources]
        if _here.sessions:  # most threads never begin one, and to go through a WeakSet takes a while
            joined += [session for session in list(_here.sessions) if _will_join(session, transaction._manager)]
        for session in joined:
            nested = session.get_nested_transaction() if isinstance(session, Session) else None
            while nested is not None and nested.nested:
                self._first.setdefault(nested, number)
                self._listen(nested.session)
                nested = nested.parent

    def forget(self) -> None:
        """Stop looking: what ends from now on ends with the whole transaction."""
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
        # Not committed before it ended. No event says "rolled back" of one whose flush has failed.
        number = self._first.pop(ended, None)
        if number is not None:
            self._drop_from(number)


class _Here(threading.local):
    def __init__(self) -> None:
        self.sessions: weakref.WeakSet[Session] = weakref.WeakSet()


_here = _Here()
"""The sessions that have begun a nested transaction on this thread."""


def _created(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        _here.sessions.add(session)


event.listen(Session, "after_transaction_create", _created)


def _will_join(session: Session, manager: Any) -> bool:
    """Whether zope.sqlalchemy will have this session join this manager's transaction, once it is used."""
    if not session.in_nested_transaction():
        return False
    owners = (getattr(listener, "__self__", None) for listener in session.dispatch.after_begin)
    return any(
        getattr(owner.transaction_manager, "manager", owner.transaction_manager) is manager
        for owner in owners
        if isinstance(owner, ZopeTransactionEvents)
    )
