"""Enlisting: messages join the current transaction and leave with its commit, or not at all.

The `Enlistment` is a data manager like zope.sqlalchemy's: a small visible state machine. It takes part in
the two-phase commit only to follow savepoints and aborts. The dispatch itself happens in the transaction's
after-commit hook, when nothing that we do can make the commit fail.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import transaction as thread_local
from pyramid.threadlocal import get_current_request
from transaction._transaction import Status
from transaction.interfaces import IDataManagerSavepoint, ISavepointDataManager
from zope.interface import implementer

from ..exceptions import NoTransaction
from ..message import Message
from .nested import NestedSessions

log = logging.getLogger(__name__)

Dispatch = Callable[[Sequence[Message]], None]

ENLIST_AUTO, ENLIST_REQUIRED, ENLIST_NEVER = "auto", "required", "never"


def has_begun(manager: Any) -> bool:
    """Whether a transaction has begun on this manager. `get()` would begin one, so it can't be asked."""
    inner = getattr(manager, "manager", manager)  # ThreadTransactionManager keeps a manager a thread
    return getattr(inner, "_txn", None) is not None


def current_transaction(manager: Any = None) -> Any | None:
    """The transaction that a message enlisted now belongs to, or None.

    In order: the one of the manager given; of the current Pyramid request's `tm`, if begun; of the
    thread-local `transaction.manager`, if begun.
    """
    if manager is not None:
        return manager.get()
    request = get_current_request()
    for candidate in (getattr(request, "tm", None), thread_local.manager):
        if candidate is not None and has_begun(candidate):
            return candidate.get()
    return None


def enlist(message: Message, key: object, dispatch: Dispatch, mode: str = ENLIST_AUTO, manager: Any = None) -> bool:
    """Put `message` into the current transaction; False if there is none, and it should leave at once.

    `key` names the sender: one transaction keeps one enlistment for each.
    """
    if mode == ENLIST_NEVER and manager is None:
        return False
    transaction = current_transaction(manager)
    if transaction is None:
        if mode == ENLIST_REQUIRED:
            raise NoTransaction(
                f"task {message.task!r} was called outside a transaction and ptemporal.enlist = required; "
                "begin one (request.tm.begin()), pass transaction_manager=, or set ptemporal.enlist = auto"
            )
        return False
    if transaction.status == Status.COMMITTED:  # called from an after-commit hook: nothing is left to wait for
        return False
    (find_enlistment(transaction, key) or Enlistment(transaction, key, dispatch)).add(message)
    return True


def find_enlistment(transaction: Any, key: object) -> Enlistment | None:
    try:
        found: Enlistment = transaction.data(key)
    except KeyError:
        return None
    return found if found.state == Enlistment.ENLISTING else None


def is_enlisted(task_id: str, key: object) -> bool:
    """Whether the current transaction still holds the message with this id."""
    transaction = current_transaction()
    enlistment = find_enlistment(transaction, key) if transaction is not None else None
    return enlistment is not None and any(message.id == task_id for message in enlistment.messages)


@implementer(ISavepointDataManager)
class Enlistment:
    """The messages of one transaction. It belongs to the transaction's thread."""

    ENLISTING, COMMITTED, DROPPED = "enlisting", "committed", "dropped"

    def __init__(self, transaction: Any, key: object, dispatch: Dispatch) -> None:
        self.transaction_manager = transaction._manager
        self.messages: list[Message] = []
        self.state = self.ENLISTING
        self._dispatch = dispatch
        self._nested = NestedSessions(self.keep_first)
        self._transaction = transaction
        # A transaction that is already committing (a session's flush events) takes no new members, and has
        # no savepoints left that we would have to follow: the hook alone is enough then.
        if transaction.status in (Status.ACTIVE, Status.DOOMED):
            transaction.join(self)
        transaction.set_data(key, self)
        transaction.addAfterCommitHook(self._after_commit)

    def add(self, message: Message) -> None:
        self._nested.watch(self._transaction, len(self.messages))
        self.messages.append(message)

    def keep_first(self, count: int) -> None:
        """A savepoint was rolled back: what was enlisted under it is dropped."""
        del self.messages[count:]

    def _drop(self) -> None:
        self.messages.clear()
        self.state = self.DROPPED
        self._nested.forget()

    def _after_commit(self, committed: bool) -> None:
        if self.state == self.DROPPED:
            return
        messages, self.messages = tuple(self.messages), []
        self.state = self.COMMITTED if committed else self.DROPPED
        self._nested.forget()
        if not committed or not messages:
            return
        try:
            self._dispatch(messages)
        except Exception:  # the commit stands whatever happens here; `transaction` would log it without the messages
            for message in messages:
                log.exception("committed, but not started: %s[%s]", message.summary, message.id)

    # --- the data manager ------------------------------------------------------------------------

    def sortKey(self) -> str:
        # We vote first, on nothing: zope.sqlalchemy's one-phase commit happens in its vote, last of all.
        return f" ptemporal:{id(self)}"

    def savepoint(self) -> EnlistmentSavepoint:
        return EnlistmentSavepoint(self)

    def abort(self, transaction: Any) -> None:
        # `transaction` also aborts every member after the after-commit hooks have run.
        if self.state == self.ENLISTING:
            self._drop()

    def tpc_begin(self, transaction: Any) -> None:
        pass

    def commit(self, transaction: Any) -> None:
        pass

    def tpc_vote(self, transaction: Any) -> None:
        pass

    def tpc_finish(self, transaction: Any) -> None:
        pass

    def tpc_abort(self, transaction: Any) -> None:
        self._drop()


@implementer(IDataManagerSavepoint)
class EnlistmentSavepoint:
    """A point to go back to: how many messages there were."""

    def __init__(self, enlistment: Enlistment) -> None:
        self._enlistment = enlistment
        self._count = len(enlistment.messages)

    def rollback(self) -> None:
        self._enlistment.keep_first(self._count)
