"""Watches the server for changes of tasks: what Celery's workers would send as events."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from temporalio.client import Client

from .. import states
from ..client.for_each import for_each
from ..client.listed_runs import ListedRun, list_runs
from ..client.status import Status
from ..client.task_status import status_of
from ..message import wire_names as wire

MOST_CHANGES = 500
"""The largest number of workflows, and of standalone activities, in one look. Each costs one or two calls."""
MOST_FOLLOWED = 200
"""The largest number of tasks without an end whose state each look asks for."""
OVERLAP = dt.timedelta(seconds=5)
"""How far a look goes back before the one before it: the server's list may lag behind."""
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
        """The workflows that were reported as sent or as ended, by run id. The server's list may repeat them."""
        self._open: dict[str, tuple[ListedRun, str]] = {}
        """Workflows and activities that have not ended, each with its state at the last look."""
        self.left_out = False
        """Whether the last look found more changes than it read."""

    async def look(self) -> list[TaskChange]:
        """Return the changes since the last look, in their order. If a call fails, the next look finds them."""
        now = dt.datetime.now(dt.timezone.utc)
        listed = await list_runs(self._client, self._query(), MOST_CHANGES)
        changed = [run for run in listed if not run.name.startswith(wire.OWN)]
        for run in changed:
            self._follow(run)
        changes = await self._news_of_open(now)
        changes += [change_of(run, "task-sent", run.start_time) for run in changed if self._is_newly_sent(run, now)]
        self.left_out = len(listed) >= MOST_CHANGES
        self._last_look = now
        self._seen = {key: at for key, at in self._seen.items() if at > now - 2 * OVERLAP}
        return sorted(changes, key=lambda change: change.at)

    def _query(self) -> str:
        after = max(self._since, self._last_look - OVERLAP).isoformat()
        return f"StartTime >= '{after}' OR CloseTime >= '{after}'"

    def _follow(self, run: ListedRun) -> None:
        """Ask for the state of this task, from now on until its end."""
        if run.run_id in self._open or (run.run_id, "ended") in self._seen:
            return
        if len(self._open) < MOST_FOLLOWED or run.close_time is not None:
            self._open[run.run_id] = run, states.PENDING

    async def _news_of_open(self, now: dt.datetime) -> list[TaskChange]:
        followed = list(self._open.values())
        statuses = await for_each(followed, lambda entry: status_of(self._client, entry[0].id))
        found = []
        for (run, before), status in zip(followed, statuses, strict=True):
            if status.ended or run.close_time is not None or not status.known:
                del self._open[run.run_id]
                self._seen[run.run_id, "ended"] = now
            else:
                self._open[run.run_id] = run, status.state
            if status.known and status.state not in (before, states.PENDING):
                kind = TYPES.get(status.state, f"task-{status.state.lower()}")
                at = (status.ended_at or run.close_time) if status.ended else None
                found.append(change_of(run, kind, at or now, status))
        return found

    def _is_newly_sent(self, run: ListedRun, now: dt.datetime) -> bool:
        known = (run.run_id, "sent") in self._seen
        self._seen[run.run_id, "sent"] = now
        return not known and run.start_time >= self._since


def change_of(run: ListedRun, kind: str, at: dt.datetime, status: Status | None = None) -> TaskChange:
    """Return the change of this type at this moment, with what the server knows of the task."""
    ended = status is not None and status.ended
    runtime = (at - run.start_time).total_seconds() if ended else None
    return TaskChange(kind, run.id, run.name, run.queue, at, status, runtime)
