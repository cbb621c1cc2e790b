"""SQLAlchemy's own savepoints: a message enlisted inside `session.begin_nested()` goes when that rolls back.

`transaction` does not see these savepoints, so the enlistment looks at the sessions that have joined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction


class NestedSessions:
    """Remembers, for each open nested transaction, how many messages there were when it was first seen.

    Everything enlisted since then was enlisted inside it, so a rollback cuts back to that number.
    """

    def __init__(self, cut: Callable[[int], None]) -> None:
        self._cut = cut
        self._counts: dict[SessionTransaction, int] = {}
        self._sessions: list[Session] = []

    def watch(self, transaction: Any, count: int) -> None:
        for member in transaction._resources:
            session = getattr(member, "session", None)
            nested = session.get_nested_transaction() if isinstance(session, Session) else None
            while nested is not None and nested.nested:
                self._counts.setdefault(nested, count)
                self._listen(nested.session)
                nested = nested.parent

    def forget(self) -> None:
        for session in self._sessions:
            event.remove(session, "after_soft_rollback", self._rolled_back)
        self._sessions.clear()
        self._counts.clear()

    def _listen(self, session: Session) -> None:
        if session not in self._sessions:
            event.listen(session, "after_soft_rollback", self._rolled_back)
            self._sessions.append(session)

    def _rolled_back(self, session: Session, ended: SessionTransaction) -> None:
        count = self._counts.pop(ended, None)
        if count is not None:
            self._cut(count)
