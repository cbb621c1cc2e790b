"""Leaves and finds receipts, so that the effects of a task in the database happen once.

The task's own transaction inserts the receipt, as its last statement before the commit. If the worker dies between
the commit and its reply, the next attempt finds the receipt and does not call the function again. Two runs can also
go on at once, if the first was only taken for dead. Then one run commits. The other run fails in its INSERT, is rolled
back, and ends as the first run did.
"""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from zope.sqlalchemy.datamanager import _SESSION_STATE, STATUS_CHANGED, SessionDataManager, TwoPhaseSessionDataManager

from ... import states
from ...context import Context
from ...exceptions import ImproperlyConfigured, TaskReplaced
from ...log_lines.throttled_log import LoggedNames
from ...message import wire_names as wire
from ...outbox import receipt_store as table
from ...outbox import receipts
from ...outbox.sessions import connection_of, join, session_of
from ...payload import Payload
from ...payload.bounds import read_json
from ...payload.codecs import chain, pack, unpack
from ...payload.errors import to_wire
from ...payload.types import Unreadable
from ...security.signed_results import read_result
from ...task.execution import Ending, NewAttempt, Undecided, without_our_frames
from ...transactions.pyramid_request import Attempt, attempt
from ..job import Job
from ..outcome import InDoubt, ReceiptOfAnotherRun, Replaced, Succeeded
from .result import succeeded

if TYPE_CHECKING:
    from ...interfaces import AppLike

log = logging.getLogger(__name__)

KIND = "ptemporal-receipt"
"""Key in a receipt's metadata: what the receipt holds. It never leaves the table."""
RESULT, TREE = b"result", b"tree"


class Receipts:
    """The receipts of one app's tasks."""

    def __init__(self, app: AppLike) -> None:
        self.app = app
        self.name: str = app.conf["ptemporal.outbox"]
        self._codec = chain(app.codecs())
        self._warned_tasks = LoggedNames()

    def of_run(self, job: Job, request: Context) -> RunReceipt:
        return RunReceipt(self, job, request)

    def open(self, transaction: Any) -> Connection:
        """Return the connection that takes part in this transaction."""
        session, _ = session_of(self.name, transaction)
        return connection_of(session)

    def check(self) -> None:
        """Raise now for what would fail every task: a missing session, or a missing table."""
        try:
            with attempt(self.app.registry) as run:
                connection = self.open(run.begun)
                found = inspect(connection).has_table(receipts.name)
        except DBAPIError as error:
            log.warning("the worker can't see now whether the database has the table %s: %s", receipts.name, error)
            return
        if not found:
            raise ImproperlyConfigured(
                f"ptemporal.receipts = true, and the database has no table {receipts.name}; "
                "make it with: ptemporal-compat outbox init app.ini"
            )

    def warn_about_second_commit(self, task: str) -> None:
        if self._warned_tasks.is_new(task):
            log.warning(
                "task %s uses another session or database, which does not commit together with the session of "
                "ptemporal.outbox: it leaves no receipt, and may write twice if its worker is lost; "
                "give the sessions twophase=True",
                task,
            )

    def write(self, outcome: Succeeded | Replaced) -> bytes:
        if isinstance(outcome, Replaced):
            payload = Payload(
                {"encoding": b"json/plain", KIND: TREE}, json.dumps(wire.write_payloads(outcome.tree)).encode()
            )
        else:
            payload = wire.with_added(wire.with_children(outcome.result, outcome.children), outcome.added)
            payload = Payload({**payload.metadata, KIND: RESULT}, payload.data)
        return pack(self._codec.encode(payload))

    def read(self, written: bytes) -> Succeeded | Replaced:
        payload = self._codec.decode(unpack(written))
        metadata = dict(payload.metadata)
        kind = metadata.pop(KIND, b"")
        if kind == TREE:
            payloads = tuple(wire.read_payloads(read_json(payload.data)))
            if not payloads:
                raise Unreadable("a receipt holds a canvas without payloads: this release did not write it")
            return Replaced(payloads)
        if kind == RESULT:
            return Succeeded(Payload(metadata, payload.data))
        raise Unreadable(
            f"a receipt holds {kind.decode(errors='replace')!r}, which this release does not know; "
            "a worker of a newer release has written it: upgrade this one"
        )

    def value(self, result: Payload) -> Any:
        """Return the result's value, for hooks."""
        return read_result(self.app, result).value


class RunReceipt:
    """The receipt of one run: looks for the receipt of another run, and leaves its own. Implements `execution.Once`."""

    def __init__(self, receipts: Receipts, job: Job, request: Context) -> None:
        self._receipts = receipts
        self._job = job
        self._request = request
        message = job.message
        key = table.receipt_key(message.id, message.replaced_task_nesting)
        self._whose = table.TaskRun(key, job.namespace, job.execution_id, job.run_id)
        self._follows = job.attempt > 1 or job.redelivered or job.retries > 0 or bool(job.known_runs)
        """Whether another run may have come before, or may still go on."""
        self._tries = 0
        """How often the transaction was begun: again after each transient error."""
        self._left = False
        """A receipt was inserted in a transaction whose end is not known, or may still be to come."""
        self._asking = False
        """The database was asked for an earlier run's receipt and has not answered."""
        self._instead_of: str | None = None
        """The run of another task with the same id. This run's receipt replaces that task's receipt."""

    @property
    def was_left(self) -> bool:
        return self._left

    # --- the steps around the run ----------------------------------------------------------------

    def earlier(self, run: Attempt) -> Ending | None:
        """Return how an earlier run ended; None if the task is still to be done."""
        self._tries += 1
        if self._tries == 1 and not self._follows:
            return None
        self._asking = True
        found = self._find(run)
        ending = None if found is None else self._ending(found)
        self._asking = False
        if ending is None:  # the task gets a connection, and its view of the database, at its own first statement
            run.begin_anew()
        return ending

    def leave(self, run: Attempt, ending: Ending) -> None:
        """Insert the receipt, if the transaction has work to commit."""
        transaction = run.transaction
        if transaction is None or not has_work(transaction, run):
            return
        session, events = session_of(self._receipts.name, transaction)
        session.flush()  # an error here belongs to the application
        join(session, events, transaction)
        connection = connection_of(session)
        if commits_separately(session, transaction):
            self._receipts.warn_about_second_commit(self._job.message.task)
            return
        if isinstance(ending.value, TaskReplaced):
            outcome: Succeeded | Replaced = Replaced(tuple(ending.value.tree.encode()))
        else:
            limit = self._receipts.app.conf["ptemporal.payload_limit"]
            outcome = succeeded(self._job, self._request, ending.written, limit)
        self._insert(connection, self._receipts.write(outcome))
        events.mark_changed(session)
        self._left = True

    def is_done(self, new_attempt: NewAttempt) -> bool:
        """Return whether the task has a receipt."""
        with new_attempt() as run:
            return self._find(run) is not None

    def settled(self, ending: Ending, new_attempt: NewAttempt) -> Ending:
        """Return how the task really ended: a run that failed may have met another run that committed."""
        error, ended_outside = ending.error, self._job.failed_with is not None
        if error is None or isinstance(error, TaskReplaced):
            return ending
        beaten = isinstance(error, (table.ReceiptExists, table.ReceiptUndecided))
        in_doubt = beaten or self._left or self._asking
        # After a conflict the transaction was begun again. The conflict may have been with another run of this task,
        # which may still be at its commit.
        met_another = self._tries > 1
        if not (in_doubt or self._follows or ended_outside or met_another):
            return ending
        try:
            if self._left or ended_outside or met_another:
                self._wait_for_commits(new_attempt)
            with new_attempt() as run:
                found = self._find(run)
                if found is not None:
                    return self._ending(found)
        except Undecided:
            raise
        except Exception as failure:
            if not in_doubt:
                log.warning("Task %s[%s]: its receipt can't be looked for: %r", *self._named, failure)
                return ending
            raise Undecided(InDoubt(to_wire(without_our_frames(failure)))) from failure
        if beaten:  # and the other run's receipt is gone, or not there yet
            raise Undecided(InDoubt(to_wire(error)))
        return ending

    # --- the table -------------------------------------------------------------------------------

    @property
    def _named(self) -> tuple[str, str]:
        return self._job.message.task, self._job.message.id

    def _find(self, run: Attempt) -> table.Receipt | None:
        """Return the receipt of a run of this same task; None if there is none."""
        connection = self._receipts.open(run.begun)
        found = table.find_receipt(connection, self._whose)
        if found is None or found.run_id == self._whose.run_id:
            return found
        if found.run_id not in self._job.known_runs:
            raise Undecided(ReceiptOfAnotherRun(found.workflow_id, found.run_id))
        if self._job.known_runs[found.run_id]:
            return found
        self._instead_of = found.run_id
        return None

    def _insert(self, connection: Connection, written: bytes) -> None:
        table.insert_receipt(connection, self._whose, written, self._instead_of)

    def _wait_for_commits(self, new_attempt: NewAttempt) -> None:
        """Return once every transaction that has inserted the receipt has ended.

        A commit whose reply was lost may still be under way. A SELECT would not see it, but an INSERT waits for it.
        """
        with new_attempt() as run, contextlib.suppress(table.ReceiptExists):
            connection = self._receipts.open(run.begun)
            self._insert(connection, b"")  # rolled back as the block ends

    def _ending(self, found: table.Receipt) -> Ending:
        outcome = self._receipts.read(found.result)
        if isinstance(outcome, Replaced):
            return Ending(states.IGNORED, outcome=outcome)
        try:
            value = self._receipts.value(outcome.result)
        except Exception as error:
            log.warning("Task %s[%s]: its result can't be read for its hooks: %s", *self._named, error)
            value = None
        return Ending(states.SUCCESS, value, outcome=outcome)


def has_work(transaction: Any, run: Attempt) -> bool:
    """Return whether the commit has an effect, so that it must not happen twice.

    The data manager of a session that has only read rolls it back. Then there is nothing to prove.
    """
    if transaction is not run.begun:  # the task has committed a transaction itself
        return True
    hooks = (*transaction.getBeforeCommitHooks(), *transaction.getAfterCommitHooks())
    return bool(hooks) or any(not has_only_read(member) for member in transaction._resources)


def commits_separately(session: Session, transaction: Any) -> bool:
    """Return whether another database commits before or after this one.

    Then a receipt could vouch for effects that the other database has lost.
    """
    members = [member for member in transaction._resources if isinstance(member, SessionDataManager)]
    own = session.get_transaction()
    if own is not None and not session.twophase and len({used[0] for used in own._connections.values()}) > 1:
        return True  # it commits one database after the other, and does not say which were only read
    others = [member for member in members if member.session is not session and not has_only_read(member)]
    return any(not (session.twophase and isinstance(member, TwoPhaseSessionDataManager)) for member in others)


def has_only_read(member: Any) -> bool:
    if not isinstance(member, SessionDataManager) or member.session is None:
        return False
    session = member.session
    return _SESSION_STATE.get(session) is not STATUS_CHANGED and not (session.new or session.dirty or session.deleted)
