"""One task in a list: what the server's list says of its workflow, and what has to be read beside it."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from .. import states
from ..client.history import end_of, start_of
from ..client.members import READERS, describe_tree, statuses_in_tree
from ..client.read_status import failed_status
from ..client.status import Status
from ..client.task_status import status_of
from ..control.waiting_tasks import is_listed_as_tree
from ..log_lines.text_safety import one_line
from ..message.ids import bundle_of, workflow_of
from ..message.message import Message, call_repr
from ..message.tree import Tree
from ..settings.masking import masked_text

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_REMEMBERED = 20_000
"""Rows that are remembered. A row takes about a kilobyte."""
LONGEST_TEXT = 300
"""Characters of an error or of arguments in a row."""
STATES = {
    WorkflowExecutionStatus.RUNNING: states.STARTED,
    WorkflowExecutionStatus.COMPLETED: states.SUCCESS,
    WorkflowExecutionStatus.CANCELED: states.REVOKED,
    WorkflowExecutionStatus.TERMINATED: states.REVOKED,
}
"""The state of a task whose workflow has this status. Every other status is a failure."""


@dataclass(frozen=True)
class TaskRow:
    """One task in a list; or a canvas or bundle, whose members are not listed."""

    id: str
    name: str
    """The task's name. A canvas has `chain`, `group` or `chord`, a bundle has `bundle`."""
    queue: str
    state: str
    is_tree: bool = False
    """Whether this is a canvas or bundle."""
    within: str | None = None
    """The id of the canvas or bundle that the task is a member of."""
    arguments: str = ""
    """The arguments as the sender describes them, shortened; secrets are masked."""
    error: str = ""
    """`Type: text` of the error."""
    retries: int = 0
    worker: str | None = None
    paused: bool = False
    """Whether the task waits because it, or its type, is paused."""
    began: datetime.datetime | None = None
    """When the task was sent."""
    eta: datetime.datetime | None = None
    """When the task may start, if that is later than when it was sent."""
    ended: datetime.datetime | None = None

    @property
    def seconds(self) -> float | None:
        """How long the task took, its wait included; None while it has not ended."""
        return None if self.ended is None or self.began is None else (self.ended - self.began).total_seconds()


class RememberedRows:
    """Remembers the rows of workflows that have ended, which can't change. Drops the oldest if there are too many."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, bool], Sequence[TaskRow]] = OrderedDict()
        self._count = 0

    def get(self, run_id: str, members: bool) -> Sequence[TaskRow] | None:
        return self._rows.get((run_id, members))

    def put(self, run_id: str, members: bool, rows: Sequence[TaskRow]) -> None:
        if (run_id, members) in self._rows:
            return
        self._rows[run_id, members] = rows
        self._count += len(rows) + 1
        while self._count > MOST_REMEMBERED:
            _, dropped = self._rows.popitem(last=False)
            self._count -= len(dropped) + 1


class RowReader:
    """Makes rows. Belongs to the connection's event loop.

    It remembers the rows of workflows that have ended, so that a page that is shown again costs few calls.
    """

    def __init__(self, *, shows_arguments: bool = True) -> None:
        """
        :param shows_arguments: whether rows of single tasks have their arguments, which costs a call for each task.
        """
        self._shows_arguments = shows_arguments
        self._remembered = RememberedRows()

    async def rows(self, client: Client, runs: Sequence[WorkflowExecution], members: bool) -> list[Sequence[TaskRow]]:
        """Return the rows of each of these workflows.

        :param members: whether a canvas or bundle has a row for each of its members, and none for itself.
        """
        turn = asyncio.Semaphore(READERS)

        async def one(run: WorkflowExecution) -> Sequence[TaskRow]:
            if (known := self._remembered.get(run.run_id, members)) is not None:
                return known
            async with turn:
                rows = await (
                    self._members(client, run) if members and is_listed_as_tree(run) else self._row(client, run)
                )
            if run.status is not WorkflowExecutionStatus.RUNNING:
                self._remembered.put(run.run_id, members, rows)
            return rows

        return list(await asyncio.gather(*map(one, runs)))

    async def _row(self, client: Client, run: WorkflowExecution) -> Sequence[TaskRow]:
        row = TaskRow(
            run.id,
            run.workflow_type,
            run.task_queue,
            STATES.get(run.status, states.FAILURE) if run.status else states.PENDING,
            is_tree=is_listed_as_tree(run),
            arguments=shown_arguments(await unit_of(client, run)) if self._shows_arguments else "",
            began=run.start_time,
            eta=run.execution_time if is_later(run.execution_time, run.start_time) else None,
            ended=run.close_time,
        )
        if run.status is WorkflowExecutionStatus.FAILED:
            return [with_status(row, await failure_of(client, run))]
        if run.status is WorkflowExecutionStatus.RUNNING and not row.is_tree:
            status = await status_of(client, run.id)
            return [with_status(row, status) if status.known else row]
        return [row]

    async def _members(self, client: Client, run: WorkflowExecution) -> Sequence[TaskRow]:
        unit, found = await unit_of(client, run), await describe_tree(client, run.id)
        if not isinstance(unit, Tree) or found is None or found.run_id != run.run_id:
            return [] if found is None else await self._row(client, run)
        messages = {each.id: each for each in unit.root.all_messages() if is_member_of(each.id, unit)}
        statuses = await statuses_in_tree(client, found, list(messages))
        return [
            with_status(
                TaskRow(
                    message.id,
                    message.task,
                    message.queue or run.task_queue,
                    states.PENDING,
                    within=run.id,
                    arguments=shown_arguments(message),
                    began=run.start_time,
                    eta=message.eta,
                ),
                statuses[message.id],
            )
            for message in messages.values()
            if statuses[message.id].known
        ]


async def unit_of(client: Client, run: WorkflowExecution) -> Message | Tree | None:
    """Return the message or tree that the workflow was started with; None if it can't be read, or is another's."""
    start = await start_of(client, run.id, run.run_id)
    return await readable(start.unit()) if start else None


async def failure_of(client: Client, run: WorkflowExecution) -> Status:
    """Return the status of a task whose workflow has failed."""
    closed = await end_of(client, run.id, run.run_id)
    if closed is None or (error := await readable(closed.failure.error())) is None:
        return Status(states.FAILURE, ended=True)
    return failed_status(error)


async def readable(decoded: Awaitable[T]) -> T | None:
    """Return what is decoded; None if this process can't decode it. Codecs raise errors of their own.

    One task that was sent with another key must not hide all other tasks.
    """
    try:
        return await decoded
    except Exception as error:
        log.debug("a task of the list can't be decoded: %r", error)
        return None


def is_member_of(task_id: str, tree: Tree) -> bool:
    """Return whether the tree's own workflow runs the task, and no child workflow does."""
    return task_id == tree.id or workflow_of(task_id) == tree.id or (tree.bundle and bundle_of(task_id) == tree.id)


def is_later(moment: datetime.datetime | None, than: datetime.datetime) -> bool:
    return moment is not None and moment > than + datetime.timedelta(milliseconds=1)


def with_status(row: TaskRow, status: Status) -> TaskRow:
    """Return the row of a task with this status."""
    return replace(
        row,
        state=status.state,
        error=error_line(status.error),
        retries=status.retries,
        worker=status.worker,
        paused=status.paused,
        ended=row.ended or status.ended_at,
    )


def error_line(error: Mapping[str, Any] | None) -> str:
    """Return `Type: text` of an error, in one line; "" without an error."""
    if error is None:
        return ""
    return shortened(one_line(f"{error.get('type') or 'Exception'}: {masked_text(str(error.get('text') or ''))}"))


def shown_arguments(unit: Message | Tree | None) -> str:
    """Return the arguments of a task, or what a canvas consists of, in one line."""
    if unit is None:
        return ""
    if isinstance(unit, Tree):
        return shortened(one_line(masked_text(unit.summary)))
    return shortened(one_line(masked_text(call_repr(unit.argsrepr, unit.kwargsrepr))))


def shortened(text: str, most: int = LONGEST_TEXT) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
