"""The SQL of receipts: a row in a task's own transaction, which proves that the task's effects are committed.

The primary key makes the proof exact. Two runs of one task can't both commit. The second run waits in its INSERT until
the first run has ended. If the first run committed, the INSERT fails; if it was rolled back, the second run goes on.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from ..transactions.database_errors import is_lock_timeout
from .dialects import check_size, in_seconds, now
from .tables import for_all, hiding_values, receipts

LONGEST_KEY = 500
"""Characters of a task id that are stored as they are. MySQL's keys are short, so a longer id gets a digest."""


class ReceiptExists(Exception):
    """Another run of the task has committed its receipt: roll this run back."""


class ReceiptUndecided(Exception):
    """Another run of the task has inserted its receipt, and has not committed it within the lock timeout."""


@dataclass(frozen=True)
class TaskRun:
    """The run of a task that a receipt is for."""

    task_id: str
    """As `receipt_key` returns it."""
    namespace: str
    workflow_id: str
    run_id: str


@dataclass(frozen=True)
class Receipt:
    workflow_id: str
    run_id: str
    result: bytes


@dataclass(frozen=True)
class OldReceipt:
    """A receipt that is old enough to be deleted."""

    task_id: str
    workflow_id: str
    created: datetime.datetime


def receipt_key(task_id: str, replaced: int = 0) -> str:
    """Return the key of a task in the table.

    A replacement task keeps the id of the task that it replaces, so its key gets a suffix.
    """
    if len(task_id) > LONGEST_KEY:
        digest = hashlib.sha256(task_id.encode()).hexdigest()
        task_id = f"{task_id[: LONGEST_KEY - len(digest) - 1]}-{digest}"
    return f"{task_id}#{replaced}" if replaced else task_id


def find_receipt(connection: Any, run: TaskRun) -> Receipt | None:
    """Return the receipt of any run of the same task; None if there is none."""
    query = select(receipts.c.workflow_id, receipts.c.run_id, receipts.c.result).where(*_key_of(run))
    row = connection.execute(query, execution_options=for_all(connection)).first()
    return None if row is None else Receipt(row.workflow_id, row.run_id, bytes(row.result))


def insert_receipt(connection: Any, run: TaskRun, result: bytes, instead_of: str | None = None) -> None:
    """Insert a receipt, or raise `ReceiptExists` or `ReceiptUndecided`.

    :param instead_of: the run id of another workflow that had the same id; its receipt says nothing about this run,
        and is overwritten.
    """
    check_size(connection, result, f"the receipt of {run.task_id}, with the task's result,")
    options = for_all(connection)
    values = {"workflow_id": run.workflow_id, "run_id": run.run_id, "result": result, "created": now()}
    mine = insert(receipts).values(task_id=run.task_id, namespace=run.namespace, **values)
    theirs = update(receipts).where(*_key_of(run), receipts.c.run_id == instead_of).values(values)
    try:
        with hiding_values():
            if instead_of is None or not connection.execute(theirs, execution_options=options).rowcount:
                connection.execute(mine, execution_options=options)
    except IntegrityError as error:
        raise ReceiptExists(f"{run.task_id} has a receipt") from error
    except DBAPIError as error:
        if is_lock_timeout(error):
            raise ReceiptUndecided(f"{run.task_id}: another run of it has not committed its receipt yet") from error
        raise


def old_receipts(
    connection: Any, namespace: str, seconds: float, after: OldReceipt | None, limit: int
) -> list[OldReceipt]:
    """Return the next receipts, after `after`, that are older than so many seconds. The oldest comes first."""
    query = (
        select(receipts.c.task_id, receipts.c.workflow_id, receipts.c.created)
        .where(receipts.c.namespace == namespace, receipts.c.created < in_seconds(-seconds))
        .order_by(receipts.c.created, receipts.c.task_id)
        .limit(limit)
    )
    if after is not None:
        later = receipts.c.created > after.created
        beside = and_(receipts.c.created == after.created, receipts.c.task_id > after.task_id)
        query = query.where(receipts.c.created >= after.created, or_(later, beside))
    return [OldReceipt(*row) for row in connection.execute(query)]


def delete_receipts(connection: Any, namespace: str, task_ids: Collection[str], seconds: float) -> int:
    """Delete these receipts, and return how many were deleted.

    A receipt that is no longer so many seconds old stays: the task ran again meanwhile.
    """
    statement = delete(receipts).where(
        receipts.c.task_id.in_(task_ids),
        receipts.c.namespace == namespace,
        receipts.c.created < in_seconds(-seconds),
    )
    return int(connection.execute(statement).rowcount)


def _key_of(run: TaskRun) -> tuple[Any, Any]:
    return receipts.c.task_id == run.task_id, receipts.c.namespace == run.namespace
