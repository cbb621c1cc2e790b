"""Ask the server about a queue."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import Client


class QueueState(NamedTuple):
    """Celery's answer to the declaration of a queue."""

    queue: str
    message_count: int
    """Approximate number of tasks that wait for a worker. Tasks with an eta are not counted."""
    consumer_count: int
    """Number of workers that have asked for the queue's tasks in the last minutes."""


POLLS_EVERY = datetime.timedelta(seconds=90)
"""A worker that is alive polls more often: a poll without a task ends after 60 to 70 seconds. The server lists each
poller of the last five minutes."""


async def is_served(client: Client, queue: str) -> bool:
    """Return whether a worker polls the queue for workflow steps."""
    return bool(live_pollers(await describe_queue(client, queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)))


def live_pollers(found: DescribeTaskQueueResponse) -> set[str]:
    """Return the names of the workers that poll the queue. Leave out the pollers of workers that have ended."""
    since = datetime.datetime.now(datetime.timezone.utc) - POLLS_EVERY
    return {
        poller.identity
        for poller in found.pollers
        if poller.last_access_time.ToDatetime(tzinfo=datetime.timezone.utc) > since
    }


class DescribedQueue(NamedTuple):
    """The server's two descriptions of a queue: one of its workflow steps, and one of its activities."""

    workflows: DescribeTaskQueueResponse
    activities: DescribeTaskQueueResponse

    def as_held(self, queue: str) -> QueueState:
        """Return what the server holds in the queue, and how many workers serve it."""
        waiting = sum(each.stats.approximate_backlog_count for each in self)
        return QueueState(queue, waiting, len({poller.identity for each in self for poller in each.pollers}))

    def live_pollers(self) -> set[str]:
        """Return the names of the workers that poll the queue."""
        return live_pollers(self.workflows) | live_pollers(self.activities)


async def describe_both(client: Client, queue: str) -> DescribedQueue:
    """Return both descriptions of a queue."""
    return DescribedQueue(
        await describe_queue(client, queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW),
        await describe_queue(client, queue, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
    )


async def describe_queue(client: Client, queue: str, kind: TaskQueueType.ValueType) -> DescribeTaskQueueResponse:
    """Return the server's description of a queue, with its statistics."""
    return await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind, report_stats=True
        ),
        retry=True,
    )
