"""Enlist messages in the current transaction: they leave when it commits, or not at all.

An `Enlistment` is a data manager, like zope.sqlalchemy's. `EnlistmentState` names its states. It takes part in
the two-phase commit to follow savepoints and aborts, and to write the outbox row. The dispatch itself happens in the
transaction's after-commit hook, because nothing that we do there can make the commit fail.
"""

from __future__ import annotations

import enum
import functools
import itertools
import logging
import sys
import threading
import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

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
from ..message.outgoing import parts_to_log
from ..payload.codecs import Codec
from .call_watch import tell_dropped
from .undelivered_log import name_and_text

if TYPE_CHECKING:
    from .nested_sessions import NestedSessions

log = logging.getLogger(__name__)

ENLIST_AUTO, ENLIST_REQUIRED, ENLIST_NEVER = "auto", "required", "never"


def begun_transaction(manager: Any) -> Any | None:
    """Return the transaction that has begun on this manager, or None. `manager.get()` would begin one."""
    return getattr(_inner(manager), "_txn", None)


def has_begun(manager: Any) -> bool:
    """Return whether a transaction has begun on this manager."""
    return begun_transaction(manager) is not None


def is_active(manager: Any) -> bool:
    """Return whether a transaction has begun on this manager and has not begun to commit."""
    transaction = begun_transaction(manager)
    return transaction is not None and transaction.status in (Status.ACTIVE, Status.DOOMED)


@contextmanager
def transactions_set_aside() -> Iterator[None]:
    """Set this thread's transactions aside for a while: code inside finds no transaction, and may begin its own.

    A transaction that is just over counts too, because its manager has it until its after-commit hooks have run.
    """
    of_requests = (_manager_of(entry) for entry in pyramid.threadlocal.manager.stack)
    managers = {id(inner): inner for inner in map(_inner, (*of_requests, thread_local.manager))}
    begun = [(inner, begun_transaction(inner)) for inner in managers.values() if has_begun(inner)]
    for inner, _ in begun:
        inner._txn = None
    try:
        yield
    finally:
        for inner, transaction in begun:
            inner._txn = transaction


def _inner(manager: Any) -> Any:
    return getattr(manager, "manager", manager)  # a ThreadTransactionManager wraps one manager for each thread


def current_transaction(manager: Any = None) -> Any | None:
    """Return the transaction that a message enlisted now belongs to, or None.

    The first of these decides:

    1. the given manager, which must have a transaction;
    2. `tm` of the current Pyramid request, if its transaction has begun. For a subrequest, `tm` of the outer requests
       counts too;
    3. the thread-local `transaction.manager`, if its transaction has begun.
    """
    if manager is not None:
        return _transaction_of(manager)
    for entry in reversed(pyramid.threadlocal.manager.stack):
        if (begun := begun_transaction(_manager_of(entry))) is not None:
            return begun
    return begun_transaction(thread_local.manager)


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


def _manager_of(entry: dict[str, Any]) -> Any | None:
    """Return the transaction manager of a request on Pyramid's stack; None if it has none."""
    return getattr(entry["request"], "tm", None)


class Enlistable(Protocol):
    """A message or canvas that can wait for a commit, as far as the enlistment looks at it."""

    @property
    def task(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def messages(self) -> tuple[Message, ...]: ...
    def for_log(self, codec: Codec | None = None) -> str: ...


class OutboxRows(Protocol):
    """The outbox rows of one transaction. `outbox.writer.TransactionRows` is the one implementation."""

    def join_session(self) -> None:
        """Make the outbox's session take part in the transaction, which has not begun to commit."""

    def write(self, units: Sequence[Any]) -> None:
        """Insert a row with these units, while the transaction commits."""

    def write_late(self, unit: Any) -> None:
        """Insert a row for one more unit, if the session can still write."""

    def release_session(self) -> None:
        """Let go of the session: the transaction is over."""

    def dispatch(self, units: Sequence[Any]) -> None:
        """Start the units of the committed transaction. Remove a row when the server has accepted all its units."""


class Sender(Protocol):
    """The app's side of an enlistment: it sends what a transaction has committed."""

    def units(self, messages: Sequence[Any], blocks: Collection[str]) -> Sequence[Any]:
        """Return what is started for these messages. Messages with ids of one block may leave as one bundle."""

    def open_outbox(self, transaction: Any) -> OutboxRows | None:
        """Return the outbox rows for this transaction; None if the app has no outbox."""

    def after_commit(self, units: Sequence[Any]) -> None:
        """Start the units of a committed transaction that has no outbox."""

    def codecs(self) -> Sequence[Codec]:
        """Return the codecs that payloads pass through before they leave the process."""


def enlist(message: Enlistable, key: object, sender: Sender, mode: str = ENLIST_AUTO, manager: Any = None) -> bool:
    """Put `message` into the current transaction. Return False if there is none: the message then leaves at once.

    `key` identifies the sender: a transaction has one enlistment for each key.
    """
    if mode == ENLIST_NEVER and manager is None:
        return False
    transaction = current_transaction(manager)
    if transaction is None:
        if mode == ENLIST_REQUIRED:
            raise NoTransaction(
                f"{message.task!r} was called outside a transaction and ptemporal.enlist = required; "
                "begin one (request.tm.begin()), pass transaction_manager=, or set ptemporal.enlist = auto"
            )
        return False
    if transaction.status == Status.COMMITTED:  # an after-commit hook calls the task: no commit is left to wait for
        return False
    if transaction.status == Status.COMMITFAILED:  # `transaction` would drop a new member without a word
        raise TransactionFailedError(
            f"{message.task!r} was called in a transaction that has failed and can only be aborted; "
            "abort it first: a call after the abort does not belong to the failed transaction"
        )
    (find_enlistment(transaction, key) or Enlistment(transaction, key, sender)).add(message)
    return True


def id_within(queue: str, key: object, sender: Sender, mode: str = ENLIST_AUTO, manager: Any = None) -> str:
    """Return an id for a message that `enlist` is about to get with the same arguments.

    Messages of one transaction and queue get related ids, so that they can leave as one bundle.
    """
    transaction = None if mode == ENLIST_NEVER and manager is None else current_transaction(manager)
    if transaction is None or transaction.status in (Status.COMMITTED, Status.COMMITFAILED):
        return new_id()
    return (find_enlistment(transaction, key) or Enlistment(transaction, key, sender)).new_id(queue)


def find_enlistment(transaction: Any, key: object) -> Enlistment | None:
    """Return the transaction's enlistment for this key, if messages can still join it."""
    # Most calls are the first of their transaction. Without any data, `data` would raise and catch two exceptions.
    if not hasattr(transaction, "_data"):
        return None
    try:
        found: Enlistment = transaction.data(key)
    except KeyError:
        return None
    return found if found.is_open else None


def is_enlisted(task_id: str, key: object) -> bool:
    """Return whether any transaction of this thread still holds the message with this id."""
    return any(
        task_id == unit.id
        or is_below(task_id, unit.id)  # a member of a canvas
        or any(message.id == task_id for message in unit.messages)
        for enlistment in list(_this_thread.enlistments)
        if enlistment.key is key and enlistment.is_open
        for unit in enlistment.messages
    )


def watch_sessions() -> Any | None:
    """Return the module that follows SQLAlchemy's own savepoints; None if nobody has imported SQLAlchemy."""
    return _nested_sessions() if "sqlalchemy.orm" in sys.modules else None


@functools.cache  # an import statement, even of a loaded module, takes a twentieth of `.delay()`
def _nested_sessions() -> Any:
    from . import nested_sessions  # imports SQLAlchemy: 0.2 s and 25 MB, which not every application needs

    return nested_sessions


class _ThreadEnlistments(threading.local):
    def __init__(self) -> None:
        self.enlistments: weakref.WeakSet[Enlistment] = weakref.WeakSet()


_this_thread = _ThreadEnlistments()


class EnlistmentState(enum.Enum):
    """How far an enlistment has come. Without an outbox it goes from GATHERING to COMMITTED or DROPPED directly."""

    GATHERING = "gathering"
    """Messages join. A rolled-back savepoint drops the messages that joined under it."""
    COMMIT_BEGINS = "commit begins"
    """The before-commit hooks run. The outbox's session takes part; a further message makes sure of that."""
    ROW_WRITTEN = "row written"
    """The outbox row holds the messages. Each further message gets a row of its own."""
    COMMITTED = "committed"
    """The messages leave."""
    DROPPED = "dropped"
    """The transaction was aborted: no message leaves."""


@implementer(ISavepointDataManager)
class Enlistment:
    """The messages of one transaction. It belongs to the transaction's thread."""

    def __init__(self, transaction: Any, key: object, sender: Sender) -> None:
        self._rows = sender.open_outbox(transaction)
        """None without an outbox."""
        self.transaction_manager = transaction._manager
        self.key = key
        self.state = EnlistmentState.GATHERING
        self._messages: dict[int, Enlistable] = {}
        self._written: Sequence[Any] = ()
        """The units in outbox rows."""
        self._last_number = 0
        """Messages and savepoints are numbered together, in the order in which they are made."""
        self._sender = sender
        self._blocks: dict[str, Block] = {}
        """The block of ids from which each queue's messages get theirs now."""
        self._handed_out: set[str] = set()
        """The bundles of all blocks, also of the full ones."""
        self._nested: NestedSessions | None = None
        """None as long as no message is enlisted inside a nested transaction."""
        self._transaction = transaction
        # A transaction that is already committing takes no new members: a flush event of a session calls a task then.
        # It has no savepoints left that we would have to follow, so the after-commit hook is enough.
        if transaction.status in (Status.ACTIVE, Status.DOOMED):
            transaction.join(self)
            if self._rows is not None:
                transaction.addBeforeCommitHook(self._before_commit)
        elif self._rows is not None:
            self.state = EnlistmentState.ROW_WRITTEN
        transaction.set_data(key, self)
        transaction.addAfterCommitHook(self._after_commit)
        _this_thread.enlistments.add(self)

    @property
    def is_open(self) -> bool:
        return self.state not in (EnlistmentState.COMMITTED, EnlistmentState.DROPPED)

    @property
    def messages(self) -> tuple[Enlistable, ...]:
        return (*self._written, *self._messages.values())

    @property
    def units(self) -> Sequence[Any]:
        """The workflows that start if the transaction commits now: single messages, canvases and bundles."""
        if self.state is EnlistmentState.ROW_WRITTEN:
            return self._written
        return self._sender.units(self.messages, self._handed_out)

    def next_number(self) -> int:
        """Return the number of a message or savepoint that is made now."""
        self._last_number += 1
        return self._last_number

    def new_id(self, queue: str) -> str:
        """Return the next id of the queue's block."""
        block = self._blocks.get(queue)
        if block is None or block.full:
            block = self._blocks[queue] = Block()
            self._handed_out.add(block.bundle)
        return block.new_id()

    def add(self, message: Enlistable) -> None:
        """Let `message` leave with the commit."""
        if isinstance(message, Message) and (block := self._blocks.get(message.queue)) is not None:
            block.count(message)
        number = self.next_number()
        if self._transaction.status != Status.COMMITTING:
            if (sessions := watch_sessions()) and (nested := sessions.open_nested(self._transaction)):
                self._nested = self._nested or sessions.NestedSessions(self.drop_from)
                self._nested.watch(nested, number)
            if self._rows is not None and self.state is EnlistmentState.COMMIT_BEGINS:
                self._rows.join_session()
        if self._rows is not None and self.state is EnlistmentState.ROW_WRITTEN:
            self._rows.write_late(message)
            self._written = [*self._written, message]
        else:
            self._messages[number] = message

    def drop_from(self, number: int) -> None:
        """Drop the messages that were enlisted under a savepoint, which is rolled back.

        Messages are compared by number. Counting them from the end would drop others, because savepoints of several
        sessions need not end in the order in which they began.
        """
        later = [key for key in self._messages if key >= number]
        tell_dropped([self._messages.pop(key) for key in later], "a savepoint was rolled back")

    def _before_commit(self) -> None:
        if not self.is_open:  # an earlier hook has aborted the transaction
            return
        # The session joins only here: a request that aborts, or whose messages are dropped, needs nothing of it.
        self.state = EnlistmentState.COMMIT_BEGINS
        if self._rows is not None and self._messages:
            self._rows.join_session()

    def _forget_nested(self) -> None:
        if self._nested is not None:
            self._nested.forget()

    def _write_rows(self, rows: OutboxRows) -> None:
        self._written = list(self.units)
        self.state = EnlistmentState.ROW_WRITTEN
        rows.write(self._written)
        self._messages.clear()

    def _end(self, state: EnlistmentState) -> None:
        self.state = state
        if state is EnlistmentState.DROPPED:
            tell_dropped(self.messages, "the transaction was aborted")
        self._messages.clear()
        self._written = ()
        self._forget_nested()
        if self._rows is not None:
            self._rows.release_session()

    def _after_commit(self, committed: bool) -> None:
        if self.state is EnlistmentState.DROPPED:
            return
        messages: tuple[Any, ...] = self.messages
        are_units = self.state is EnlistmentState.ROW_WRITTEN
        self._end(EnlistmentState.COMMITTED if committed else EnlistmentState.DROPPED)
        if not committed or not messages:
            return
        try:
            units = messages if are_units else self._sender.units(messages, self._handed_out)
            (self._sender.after_commit if self._rows is None else self._rows.dispatch)(units)
        except Exception:
            # The transaction stays committed. `transaction` would log the error without the messages.
            for message in itertools.chain.from_iterable(map(parts_to_log, messages)):
                name, text = name_and_text(message, self._sender.codecs)
                log.exception("committed, but not started: %s[%s]; the message: %s", name, message.id, text)

    # --- the data manager ------------------------------------------------------------------------

    def sortKey(self) -> str:
        # We sort first, and our vote does nothing. zope.sqlalchemy sorts last: its one-phase commit is in its vote.
        return f" ptemporal:{id(self)}"

    def savepoint(self) -> EnlistmentSavepoint:
        return EnlistmentSavepoint(self)

    def abort(self, transaction: Any) -> None:
        # `transaction` also calls this after the after-commit hooks have run.
        if self.is_open:
            self._end(EnlistmentState.DROPPED)

    def tpc_begin(self, transaction: Any) -> None:
        # The sessions now commit, or close, with their savepoints open: that end is no rollback.
        self._forget_nested()

    def commit(self, transaction: Any) -> None:
        # We sort first: all sessions have flushed by now, and no session has committed or closed.
        if self._rows is not None:
            self._write_rows(self._rows)

    def tpc_vote(self, transaction: Any) -> None:
        pass

    def tpc_finish(self, transaction: Any) -> None:
        pass

    def tpc_abort(self, transaction: Any) -> None:
        self._end(EnlistmentState.DROPPED)


@implementer(IDataManagerSavepoint)
class EnlistmentSavepoint:
    """A point to roll back to: it takes a number of its own, and later messages have higher ones."""

    def __init__(self, enlistment: Enlistment) -> None:
        self._enlistment = enlistment
        self._number = enlistment.next_number()

    def rollback(self) -> None:
        self._enlistment.drop_from(self._number)
