"""Receipts: a row in a task's own transaction, which proves that what the task wrote is committed.

The primary key is what makes it true. Of two runs of one task, whichever commits second can't: it waits in its INSERT
until the first one has committed, and fails then; or goes on, if that one was rolled back.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from ..database_errors import is_lock_timeout
from .clock import in_seconds, now
from .mysql_packet_limit import check_size
from .tables import for_all, hiding_values, receipts

LONGEST_KEY = 500
"""Characters of an id that are kept as they are; MySQL's keys are short."""


class AlreadyLeft(Exception):
    """Another run of the task has left its receipt: this one is to be rolled back."""


class StillLeaving(Exception):
    """Another run of the task has inserted its receipt, and is at its commit for longer than locks are waited for."""


@dataclass(frozen=True)
class Whose:
    """The run of a task that a receipt is for."""

    task_id: str
    namespace: str
    workflow_id: str
    run_id: str


@dataclass(frozen=True)
class Receipt:
    workflow_id: str
    run_id: str
    result: bytes


@dataclass(frozen=True)
class Aged:
    """A receipt that is old enough to go."""

    task_id: str
    workflow_id: str
    created: datetime.datetime


def key(task_id: str, replaced: int = 0) -> str:
    """What stands for a task in the table. One that takes another's place has that one's id, and is not that one."""
    if len(task_id) > LONGEST_KEY:
        digest = hashlib.sha256(task_id.encode()).hexdigest()
        task_id = f"{task_id[: LONGEST_KEY - len(digest) - 1]}-{digest}"
    return f"{task_id}#{replaced}" if replaced else task_id


def find(connection: Any, whose: Whose) -> Receipt | None:
    query = select(receipts.c.workflow_id, receipts.c.run_id, receipts.c.result).where(*_place(whose))
    row = connection.execute(query, execution_options=for_all(connection)).first()
    return None if row is None else Receipt(row.workflow_id, row.run_id, bytes(row.result))


def leave(connection: Any, whose: Whose, result: bytes, instead_of: str | None = None) -> None:
    """Insert a receipt, or raise `AlreadyLeft` or `StillLeaving`.

    :param instead_of: the run of another workflow that had the same id, whose receipt says nothing of this one.
    """
    check_size(connection, result, f"the receipt of {whose.task_id}, with the task's result,")
    options = for_all(connection)
    values = {"workflow_id": whose.workflow_id, "run_id": whose.run_id, "result": result, "created": now()}
    mine = insert(receipts).values(task_id=whose.task_id, namespace=whose.namespace, **values)
    theirs = update(receipts).where(*_place(whose), receipts.c.run_id == instead_of).values(values)
    try:
        with hiding_values():
            if instead_of is None or not connection.execute(theirs, execution_options=options).rowcount:
                connection.execute(mine, execution_options=options)
    except IntegrityError as error:
        raise AlreadyLeft(f"{whose.task_id} has a receipt") from error
    except DBAPIError as error:
        if is_lock_timeout(error):
            raise StillLeaving(f"{whose.task_id}: another run of it has not committed its receipt yet") from error
        raise


def aged(connection: Any, namespace: str, seconds: float, after: Aged | None, limit: int) -> list[Aged]:
    """The next receipts that are older than so many seconds, the oldest first."""
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
    return [Aged(*row) for row in connection.execute(query)]


def remove(connection: Any, namespace: str, task_ids: Collection[str], seconds: float) -> int:
    """Delete these, if they are still so old: a task may have come again meanwhile. Gives how many went."""
    statement = delete(receipts).where(
        receipts.c.task_id.in_(task_ids),
        receipts.c.namespace == namespace,
        receipts.c.created < in_seconds(-seconds),
    )
    return int(connection.execute(statement).rowcount)


def _place(whose: Whose) -> tuple[Any, Any]:
    return receipts.c.task_id == whose.task_id, receipts.c.namespace == whose.namespace
