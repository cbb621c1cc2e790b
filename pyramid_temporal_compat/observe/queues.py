"""What the server counts for each queue: backlog, age of the oldest, rates, pollers, delayed and paused tasks."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.client import Client

from ..client import list_filter
from ..client.queues import describe_both
from ..control.paused_types import PAUSED_NOW, count_paused
from ..control.waiting_tasks import in_tasks, running_in
from ..interfaces import AppLike


@dataclass(frozen=True)
class QueueReport:
    """One queue."""

    name: str
    backlog: int
    """Approximate number of tasks that wait for a worker, members of canvases and bundles included. Delayed and paused
    tasks are not among them."""
    oldest: float
    """Seconds that the oldest waiting task has waited."""
    rate_in: float
    """Tasks that came for workers, per second, in the last half minute."""
    rate_out: float
    """Tasks that workers took, per second, in the last half minute."""
    delayed: int
    """Tasks that wait for their eta or countdown."""
    paused: int
    """Tasks that wait because they, or their type, are paused."""
    pollers: Sequence[str]
    """Names of the workers that poll the queue."""


def queues_of(app: AppLike) -> list[str]:
    """Return the names of the application's queues."""
    return sorted(app.amqp.queues)


async def report_queues(client: Client, queues: Sequence[str]) -> list[QueueReport]:
    """Return the reports of these queues."""
    return list(await asyncio.gather(*(report_queue(client, queue) for queue in queues)))


async def report_queue(client: Client, queue: str) -> QueueReport:
    """Return the report of one queue."""
    now = datetime.datetime.now(datetime.timezone.utc)
    running = running_in([queue])
    later = list_filter.all_of([running, f"ExecutionTime > {list_filter.quoted(now.isoformat())}"])
    paused = list_filter.all_of([running, "TemporalPauseInfo IS NOT NULL"])
    described = await describe_both(client, queue)
    state, delayed, held = await asyncio.gather(
        in_tasks(client, described.as_held(queue)),
        client.count_workflows(later),
        count_paused(client, paused, list_filter.all_of([list_filter.one_of("TaskQueue", [queue]), PAUSED_NOW])),
    )
    return QueueReport(
        queue,
        backlog=state.message_count,
        oldest=max(each.stats.approximate_backlog_age.ToTimedelta().total_seconds() for each in described),
        # One task is one activity. A workflow has further steps, which would be counted too.
        rate_in=round(described.activities.stats.tasks_add_rate, 2),
        rate_out=round(described.activities.stats.tasks_dispatch_rate, 2),
        delayed=delayed.count,
        paused=held,
        pollers=sorted(described.live_pollers()),
    )
