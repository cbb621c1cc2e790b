"""Pages of tasks, the newest first. The server makes the pages, so ten thousand tasks cost no more than fifty.

The server lists workflows and standalone activities apart. So the pages have first the tasks with a workflow, and then
the tasks without one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecution

from ..client.standalone import has_standalone_activities
from ..control.waiting_tasks import is_listed_as_tree
from ..exceptions import InvalidCall
from ..message.ids import workflow_of
from ..payload.bounds import read_json
from .standalone_rows import standalone_rows
from .task_filter import TaskFilter
from .task_rows import RowReader, TaskRow

PAGE = 50
"""Tasks of one page, if the caller does not say how many."""
LONGEST_PAGE = 500
MOST_SEARCHED = 2_000
"""Tasks that are looked at for one page, roughly. A rare task may need several pages, the first ones empty."""
TREES_AT_A_TIME = 25
"""Workflows that are asked for at a time if members of canvases are listed: a canvas may have thousands."""


@dataclass(frozen=True)
class TaskPage:
    """One page of a list of tasks."""

    rows: Sequence[TaskRow]
    following: str | None
    """What the next page begins with; None after the last page."""
    searched: int
    """How many tasks were looked at for this page."""


@dataclass(frozen=True)
class Cursor:
    """Where a page begins: the server's own token, and the rows of the server's page that earlier pages have."""

    token: bytes = b""
    skip: int = 0
    is_standalone: bool = False
    """Whether the page has standalone activities. They come after all workflows."""

    def __str__(self) -> str:
        written = json.dumps([base64.b64encode(self.token).decode(), self.skip, self.is_standalone])
        return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, written: str) -> Cursor:
        """Read a cursor that came from a person or a browser."""
        try:
            token, skip, is_standalone = read_json(base64.urlsafe_b64decode(written + "=" * (-len(written) % 4)))
            if type(skip) is not int or not 0 <= skip < 1_000_000 or type(is_standalone) is not bool:
                raise ValueError
            return cls(base64.b64decode(token, validate=True), skip, is_standalone)
        except (ValueError, TypeError, binascii.Error, RecursionError):
            raise InvalidCall(f"{written!r:.80} is no page of a list of tasks; begin with the first page") from None


class TaskLister:
    """Lists tasks. Belongs to the connection's event loop."""

    def __init__(self, *, shows_arguments: bool = True) -> None:
        self._reader = RowReader(shows_arguments=shows_arguments)

    async def page(self, client: Client, asked: TaskFilter, cursor: str = "", size: int = PAGE) -> TaskPage:
        """Return one page of the tasks that the filter selects.

        :param cursor: `following` of the page before; "" for the first page.
        """
        size = max(1, min(size, LONGEST_PAGE))
        at = Cursor.read(cursor) if cursor else Cursor()
        rows: list[TaskRow] = []
        searched = 0
        while True:
            looked_at, every, following = await self._server_page(client, asked, at, size)
            found = [row for row in every if matches(asked, row)][at.skip :]
            room = size - len(rows)
            rows += found[:room]
            searched += max(looked_at, len(every))
            if len(found) > room:
                return TaskPage(rows, str(Cursor(at.token, at.skip + room, at.is_standalone)), searched)
            if following is None:
                return TaskPage(rows, None, searched)
            at = following
            if len(rows) == size or searched >= MOST_SEARCHED:
                return TaskPage(rows, str(at), searched)

    async def full_page(self, client: Client, asked: TaskFilter, cursor: str = "", size: int = PAGE) -> TaskPage:
        """Return a page that is full, unless it is the last one, however many tasks have to be looked at."""
        rows: list[TaskRow] = []
        searched = 0
        while True:
            page = await self.page(client, asked, cursor, size - len(rows))
            rows += page.rows
            searched += page.searched
            if page.following is None or len(rows) >= size:
                return TaskPage(rows, page.following, searched)
            cursor = page.following

    async def every(self, client: Client, asked: TaskFilter, most: int | None = None) -> AsyncIterator[TaskRow]:
        """Yield all tasks that the filter selects, or the newest `most` of them."""
        cursor, left = "", most
        while left is None or left > 0:
            page = await self.page(client, asked, cursor, LONGEST_PAGE if left is None else left)
            for row in page.rows:
                yield row
            if page.following is None:
                return
            cursor = page.following
            left = None if left is None else left - len(page.rows)

    async def _server_page(
        self, client: Client, asked: TaskFilter, at: Cursor, size: int
    ) -> tuple[int, Sequence[TaskRow], Cursor | None]:
        """Return how many entries one page of the server has, their rows, and where the next page begins."""
        if at.is_standalone:
            rows, token = await standalone_rows(client, asked.query_of_standalone(), at.token, size)
            return len(rows), rows, Cursor(token, is_standalone=True) if token else None
        most = min(size, TREES_AT_A_TIME) if asked.lists_members else size
        listed = client.list_workflows(asked.query(), page_size=most, next_page_token=at.token or None)
        await listed.fetch_next_page()
        runs = listed.current_page or ()
        rows = await self._rows(client, asked, runs)
        if listed.next_page_token:
            return len(runs), rows, Cursor(listed.next_page_token)
        return len(runs), rows, Cursor(is_standalone=True) if await has_standalone_activities(client) else None

    async def _rows(self, client: Client, asked: TaskFilter, runs: Sequence[WorkflowExecution]) -> list[TaskRow]:
        """Return the rows of these workflows that may match."""
        wanted = [run for run in runs if (asked.lists_members or not is_part(run)) and may_match(asked, run)]
        found = await self._reader.rows(client, wanted, asked.lists_members)
        return [row for rows in found for row in rows]


def is_part(run: WorkflowExecution) -> bool:
    """Return whether the workflow is a child that runs a part of a canvas."""
    return bool(workflow_of(run.id)) and is_listed_as_tree(run)


def may_match(asked: TaskFilter, run: WorkflowExecution) -> bool:
    """Return whether rows of the workflow can match, as far as the server's list tells: rows cost further calls."""
    return is_listed_as_tree(run) or asked.matches_name(run.workflow_type)


def matches(asked: TaskFilter, row: TaskRow) -> bool:
    """Return whether the filter selects the task."""
    return (
        asked.matches_name(row.name)
        and asked.matches_state(row.state)
        and asked.matches_error(row.error)
        and asked.matches_arguments(row.arguments)
        and (not asked.queue or row.queue == asked.queue)
        and asked.matches_time([row.began, row.ended])
    )
