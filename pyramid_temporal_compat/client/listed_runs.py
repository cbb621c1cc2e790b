"""What the server lists: workflows and standalone activities, both as one kind of value."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from temporalio.client import Client

from .standalone import has_standalone_activities


@dataclass(frozen=True)
class ListedRun:
    """A workflow or a standalone activity in the server's list."""

    id: str
    run_id: str
    name: str
    """The type of the workflow or of the activity: the task's name."""
    queue: str
    start_time: datetime.datetime
    close_time: datetime.datetime | None


async def list_runs(client: Client, query: str, limit: int) -> list[ListedRun]:
    """Return the workflows and the standalone activities that the query finds, `limit` of each at most.

    An activity that goes on as a workflow is left out if its workflow is found.
    """
    workflows = [
        ListedRun(run.id, run.run_id, run.workflow_type, run.task_queue, run.start_time, run.close_time)
        async for run in client.list_workflows(query, limit=limit)
    ]
    if not await has_standalone_activities(client):
        return workflows
    ids = {run.id for run in workflows}
    activities = [
        ListedRun(
            run.activity_id,
            run.activity_run_id or "",
            run.activity_type,
            run.task_queue,
            run.schedule_time or datetime.datetime.now(datetime.timezone.utc),
            run.close_time,
        )
        async for run in client.list_activities(query, limit=limit)
        if run.activity_id not in ids
    ]
    return workflows + activities
