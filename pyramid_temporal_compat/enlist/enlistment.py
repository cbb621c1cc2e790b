"""Enlisting: messages join the current transaction and leave with its commit, or not at all.

The `Enlistment` is a data manager like zope.sqlalchemy's: a small visible state machine. It takes part in
the two-phase commit only to follow savepoints and aborts. The dispatch itself happens in the transaction's
after-commit hook, when nothing that we do can make the commit fail.
"""

from __future__ import annotations

import itertools
import logging
import threading
import weakref
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol

import pyramid.threadlocal
import transaction as thread_local
from transaction._transaction import Status
from transaction.interfaces import IDataManagerSavepoint, ISavepointDataManager, TransactionFailedError
from transaction.interfaces import NoTransaction as NotBegun
from zope.interface import implementer

from ..exceptions import InvalidCall, NoTransaction
from ..message.bundle import Block
from ..message.ids import is_below, new_id
from ..message.message import Message
from ..message.tree import told_apart
from ..payload.codecs import Codec
from .nested_sessions import NestedSessions
from .undelivered_log import told_of

log = logging.getLogger(__name__)

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
        return _transaction_of(manager)
    for candidate in (*_request_managers(), thread_local.manager):
        if has_begun(candidate):
            return candidate.get()
    return None


def _transaction_of(manager: Any) -> Any:
    if not hasattr(manager, "begin"):
        raise InvalidCall(
            f"transaction_manager={manager!r} is {type(manager).__name__}; it takes a transaction manager, "
            "such as request.tm or transaction.manager"
        )
    try:
        return manager.get()
    except NotBegun:
        raise NoTransaction(
            f"transaction_manager={manager!r}: no transaction has begun on it; call its begin()"
        ) from None


def _request_managers() -> Iterator[Any]:
    """The managers of the current request and of those around it: a subrequest runs inside its caller's transaction."""
    for entry in reversed(pyramid.threadlocal.manager.stack):
        manager = getattr(entry["request"], "tm", None)
        if manager is not None:
            yield manager


class Enlisted(Protocol):
    """What waits for a commit, by what is said of it where it is not sent."""

    @property
    def task(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def messages(self) -> tuple[Message, ...]: ...
    def for_log(self, codec: Codec | None = None) -> str: ...


class Kept(Protocol):
    """Where the messages of one transaction are kept until they are started: a row of the outbox."""

    def join(self) -> None:
        """Take part in the transaction, which has not begun to commit."""

    def keep(self, units: Sequence[Any]) -> None:
        """Keep these, in the transaction, which commits."""

    def keep_late(self, unit: Any) -> None:
        """Keep one more, if the transaction has not gone too far."""

    def forget(self) -> None:
        """The transaction is over."""

    def dispatch(self, units: Sequence[Any]) -> None:
        """It has committed: start them, and keep them no longer than that."""


class Sender(Protocol):
    """Who sends what a transaction has committed."""

    def units(self, messages: Sequence[Any], blocks: Collection[str]) -> Sequence[Any]:
        """What is started for these messages: what a block has handed out the ids of may leave as one."""

    def keep(self, transaction: Any) -> Kept | None:
        """What keeps the messages of this transaction until they are started, if anything does."""

    def after_commit(self, units: Sequence[Any]) -> None:
        """Send them."""

    def codecs(self) -> Sequence[Codec]:
        """What payloads pass through before anyone else sees them."""


def enlist(message: Enlisted, key: object, sender: Sender, mode: str = ENLIST_AUTO, manager: Any = None) -> bool:
    """Put `message` into the current transaction; False if there is none, and it should leave at once.

    `key` stands for the sender: one transaction keeps one enlistment for each.
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
    if transaction.status == Status.COMMITFAILED:  # what joins it would be dropped in silence
        raise TransactionFailedError(
            f"task {message.task!r} was called in a transaction that has failed and can only be aborted; "
            "abort it first: what is called after that does not belong to it"
        )
    (find_enlistment(transaction, key) or Enlistment(transaction, key, sender)).add(message)
    return True


def id_within(queue: str, key: object, sender: Sender, mode: str = ENLIST_AUTO, manager: Any = None) -> str:
    """The id of a message that is about to be enlisted with the same arguments: it may leave in a bundle."""
    transaction = None if mode == ENLIST_NEVER and manager is None else current_transaction(manager)
    if transaction is None or transaction.status in (Status.COMMITTED, Status.COMMITFAILED):
        return new_id()
    return (find_enlistment(transaction, key) or Enlistment(transaction, key, sender)).new_id(queue)


def find_enlistment(transaction: Any, key: object) -> Enlistment | None:
    try:
        found: Enlistment = transaction.data(key)
    except KeyError:
        return None
    return found if found.state == Enlistment.ENLISTING else None


def is_enlisted(task_id: str, key: object) -> bool:
    """Whether a transaction of this thread, the current or another, still holds the message with this id."""
    return any(
        task_id == unit.id
        or is_below(task_id, unit.id)  # a member of a canvas
        or any(message.id == task_id for message in unit.messages)
        for enlistment in list(_here.enlistments)
        if enlistment.key is key and enlistment.state == Enlistment.ENLISTING
        for unit in enlistment.messages
    )


class _Here(threading.local):
    def __init__(self) -> None:
        self.enlistments: weakref.WeakSet[Enlistment] = weakref.WeakSet()


_here = _Here()
"""This thread's enlistments."""


@implementer(ISavepointDataManager)
class Enlistment:
    """The messages of one transaction. It belongs to the transaction's thread."""

    ENLISTING, COMMITTED, DROPPED = "enlisting", "committed", "dropped"

    def __init__(self, transaction: Any, key: object, sender: Sender) -> None:
        self._kept = sender.keep(transaction)
        self._final: list[Any] | None = None
        """Once they are kept: the units that leave. What is called after that leaves beside them."""
        self._hooks_run = False
        self.transaction_manager = transaction._manager
        self.key = key
        self.state = self.ENLISTING
        self._messages: dict[int, Enlisted] = {}
        self._numbers = itertools.count()
        self._sender = sender
        self._blocks: dict[str, Block] = {}
        """By queue, the one that hands out ids now."""
        self._handed_out: set[str] = set()
        self._nested = NestedSessions(self.drop_from)
        self._transaction = transaction
        # A transaction that is already committing (a session's flush events) takes no new members, and has
        # no savepoints left that we would have to follow: the hook alone is enough then.
        if transaction.status in (Status.ACTIVE, Status.DOOMED):
            transaction.join(self)
            if self._kept is not None:
                transaction.addBeforeCommitHook(self._before_commit)
        elif self._kept is not None:
            self._final = []
        transaction.set_data(key, self)
        transaction.addAfterCommitHook(self._after_commit)
        _here.enlistments.add(self)

    @property
    def messages(self) -> tuple[Enlisted, ...]:
        return (*(self._final or ()), *self._messages.values())

    @property
    def units(self) -> Sequence[Any]:
        """What is started for the messages."""
        if self._final is not None:
            return self._final
        return self._sender.units(self.messages, self._handed_out)

    def new_id(self, queue: str) -> str:
        block = self._blocks.get(queue)
        if block is None or block.full:
            block = self._blocks[queue] = Block()
            self._handed_out.add(block.bundle)
        return block.new_id()

    def add(self, message: Enlisted) -> None:
        if isinstance(message, Message) and (block := self._blocks.get(message.queue)) is not None:
            block.count(message)
        number = next(self._numbers)
        if self._transaction.status != Status.COMMITTING:
            self._nested.watch(self._transaction, number)
            if self._kept is not None and self._hooks_run:
                self._kept.join()
        if self._kept is not None and self._final is not None:
            self._kept.keep_late(message)
            self._final.append(message)
        else:
            self._messages[number] = message

    def drop_from(self, number: int) -> None:
        """A savepoint was rolled back: what was enlisted under it is dropped.

        Numbers, not lengths: savepoints of several sessions need not end in the order in which they began.
        """
        for later in [key for key in self._messages if key >= number]:
            del self._messages[later]

    def _drop(self) -> None:
        self._clear()
        self.state = self.DROPPED

    def _clear(self) -> None:
        self._messages.clear()
        self._final = None
        self._nested.forget()
        if self._kept is not None:
            self._kept.forget()

    def _before_commit(self) -> None:
        # Not before: a request that aborts, or drops what it has called, needs nothing of its session.
        self._hooks_run = True
        if self._kept is not None and self._messages:
            self._kept.join()

    def _after_commit(self, committed: bool) -> None:
        if self.state == self.DROPPED:
            return
        messages, final = self.messages, self._final
        self._clear()
        self.state = self.COMMITTED if committed else self.DROPPED
        if not committed or not messages:
            return
        try:
            units = self._sender.units(messages, self._handed_out) if final is None else final
            (self._sender.after_commit if self._kept is None else self._kept.dispatch)(units)
        except Exception:
            # The commit stands whatever happens here; `transaction` would log the error without the messages.
            for message in itertools.chain.from_iterable(map(told_apart, final or messages)):
                name, text = told_of(message, self._sender.codecs)
                log.exception("committed, but not started: %s[%s]; the message: %s", name, message.id, text)

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
        # The sessions commit, or close, with their savepoints open: that is no rollback.
        self._nested.forget()

    def commit(self, transaction: Any) -> None:
        # All sessions have flushed by now, and none has committed or been closed: we sort first.
        if self._kept is not None:
            self._final = list(self.units)
            self._kept.keep(self._final)
            self._messages.clear()

    def tpc_vote(self, transaction: Any) -> None:
        pass

    def tpc_finish(self, transaction: Any) -> None:
        pass

    def tpc_abort(self, transaction: Any) -> None:
        self._drop()


@implementer(IDataManagerSavepoint)
class EnlistmentSavepoint:
    """A point to go back to: the number that the next message would have had."""

    def __init__(self, enlistment: Enlistment) -> None:
        self._enlistment = enlistment
        self._number = next(enlistment._numbers)

    def rollback(self) -> None:
        self._enlistment.drop_from(self._number)
