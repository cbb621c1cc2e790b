"""The failed tasks since some moment, counted by task and error."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.client import Client

from .. import states
from .task_filter import TaskFilter
from .task_list import TaskLister
from .task_rows import TaskRow

MOST_COUNTED = 500
"""Failed tasks that are counted. Each costs one call to the server, once."""
MOST_SEARCHED = 10_000
"""Tasks that are looked at, because they are members of canvases that may have failed members."""


@dataclass(frozen=True)
class FailureGroup:
    """Tasks of one name that failed with the same type of error."""

    name: str
    error: str
    """The error's type."""
    count: int
    last: datetime.datetime | None
    """When the last of them ended."""
    last_id: str
    last_text: str
    """`Type: text` of the last one's error."""


@dataclass(frozen=True)
class Failures:
    """The failed tasks, in groups, the largest group first."""

    groups: Sequence[FailureGroup]
    count: int
    is_all: bool
    """Whether all failed tasks were counted. Otherwise these are the newest."""


async def failures_since(client: Client, lister: TaskLister, moment: datetime.datetime) -> Failures:
    """Return the tasks that have failed since then."""
    asked = TaskFilter(states=frozenset({states.FAILURE}), since=moment)
    rows: list[TaskRow] = []
    searched, cursor = 0, ""
    while len(rows) < MOST_COUNTED and searched < MOST_SEARCHED:
        page = await lister.page(client, asked, cursor, MOST_COUNTED - len(rows))
        rows += page.rows
        searched += page.searched
        cursor = page.following or ""
        if not cursor:
            break
    groups: dict[tuple[str, str], FailureGroup] = {}
    for row in rows:
        if row.ended is not None and row.ended < moment:
            continue
        key = row.name, row.error.partition(":")[0]
        known = groups.get(key)
        if known is None:
            groups[key] = FailureGroup(*key, 1, row.ended, row.id, row.error)
        else:  # the newest comes first
            groups[key] = FailureGroup(*key, known.count + 1, known.last, known.last_id, known.last_text)
    ordered = sorted(groups.values(), key=lambda group: -group.count)
    return Failures(ordered, sum(group.count for group in ordered), is_all=not cursor)
