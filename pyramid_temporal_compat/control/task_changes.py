"""Watches the server for changes of tasks: what Celery's workers would send as events."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecution

from .. import states
from ..client.status import Status
from ..client.task_status import status_of
from .waiting_tasks import for_each

MOST_CHANGES = 500
"""Workflows that one look at the server reads, at most. Each costs one or two calls."""
MOST_FOLLOWED = 200
"""Tasks that have not ended and are looked at each time."""
OVERLAP = dt.timedelta(seconds=5)
"""How far a look goes back before the one before it: the server's list may lag behind."""
OURS = "ptemporal."
"""What the types of workflows begin with that are no tasks."""
TYPES = {
    states.STARTED: "task-started",
    states.RETRY: "task-retried",
    states.SUCCESS: "task-succeeded",
    states.FAILURE: "task-failed",
    states.REVOKED: "task-revoked",
    states.REJECTED: "task-rejected",
}
"""Celery's event for each state."""


@dataclass(frozen=True)
class TaskChange:
    """One change of one task, or of a canvas as a whole."""

    type: str
    """Celery's type of event, such as `task-succeeded`. A state of the application's own is `task-<state>`."""
    id: str
    name: str
    queue: str
    at: dt.datetime
    status: Status | None = None
    """What the server knows of the task then. None as the task is sent."""
    runtime: float | None = None
    """Seconds from the start to the end of the workflow, with the time in which it waited."""


class Watch:
    """Finds the changes since its last look. Belongs to one event loop."""

    def __init__(self, client: Client, since: dt.datetime | None = None) -> None:
        self._client = client
        self._since = since or dt.datetime.now(dt.timezone.utc)
        self._last_look = self._since
        self._seen: dict[tuple[str, str], dt.datetime] = {}
        """The types of the changes that were told, by run id, until the server's list no longer repeats them."""
        self._open: dict[str, tuple[WorkflowExecution, str]] = {}
        """Workflows that have not ended, each with its state at the last look."""
        self.left_out = False
        """Whether the last look found more changes than it read."""

    async def look(self) -> list[TaskChange]:
        """Return the changes since the last look, in their order."""
        now = dt.datetime.now(dt.timezone.utc)
        changed = [run async for run in self._client.list_workflows(self._query(), limit=MOST_CHANGES)]
        self.left_out = len(changed) == MOST_CHANGES
        self._last_look = now
        changes = [change for run in changed for change in self._sent(run)]
        for run in changed:
            if not run.workflow_type.startswith(OURS) and run.run_id not in self._open:
                self._follow(run)
        changes += await self._news_of_open()
        self._forget_before(now - 2 * OVERLAP)
        return sorted(changes, key=lambda change: change.at)

    def _query(self) -> str:
        after = max(self._since, self._last_look - OVERLAP).isoformat()
        return f"StartTime >= '{after}' OR CloseTime >= '{after}'"

    def _sent(self, run: WorkflowExecution) -> Iterator[TaskChange]:
        if run.start_time >= self._since and not run.workflow_type.startswith(OURS) and self._is_news(run, "task-sent"):
            yield change_of(run, "task-sent", run.start_time)

    def _follow(self, run: WorkflowExecution) -> None:
        if (run.run_id, "ended") in self._seen:
            return
        if len(self._open) < MOST_FOLLOWED or run.close_time is not None:
            self._open[run.run_id] = run, states.PENDING

    async def _news_of_open(self) -> list[TaskChange]:
        followed = list(self._open.values())

        async def look_at(entry: tuple[WorkflowExecution, str]) -> tuple[WorkflowExecution, str, Status]:
            run, before = entry
            return run, before, await status_of(self._client, run.id)

        found = []
        for run, before, status in await for_each(followed, look_at):
            if status.ended or run.close_time is not None or not status.known:
                del self._open[run.run_id]
                self._seen[run.run_id, "ended"] = self._last_look
            else:
                self._open[run.run_id] = run, status.state
            if status.known and status.state not in (before, states.PENDING):
                found.append(self._change(run, status))
        return found

    def _change(self, run: WorkflowExecution, status: Status) -> TaskChange:
        kind = TYPES.get(status.state, f"task-{status.state.lower()}")
        at = (status.ended_at or run.close_time) if status.ended else None
        change = change_of(run, kind, at or self._last_look, status)
        return change

    def _is_news(self, run: WorkflowExecution, what: str) -> bool:
        known = (run.run_id, what) in self._seen
        self._seen[run.run_id, what] = self._last_look
        return not known

    def _forget_before(self, moment: dt.datetime) -> None:
        self._seen = {key: at for key, at in self._seen.items() if at > moment}


def change_of(run: WorkflowExecution, kind: str, at: dt.datetime, status: Status | None = None) -> TaskChange:
    ended = status is not None and status.ended
    runtime = (at - run.start_time).total_seconds() if ended else None
    return TaskChange(kind, run.id, run.workflow_type, run.task_queue, at, status, runtime)
