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
    found = await describe_queue(client, queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
    since = datetime.datetime.now(datetime.timezone.utc) - POLLS_EVERY
    times = (poller.last_access_time.ToDatetime(tzinfo=datetime.timezone.utc) for poller in found.pollers)
    return any(time > since for time in times)


async def queue_as_held(client: Client, queue: str) -> QueueState:
    """Return what the server holds in a queue, workflow steps and activities, and how many workers serve it."""
    waiting, workers = 0, set()
    for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
        found = await describe_queue(client, queue, kind)
        waiting += found.stats.approximate_backlog_count
        workers |= {poller.identity for poller in found.pollers}
    return QueueState(queue, waiting, len(workers))


async def describe_queue(client: Client, queue: str, kind: TaskQueueType.ValueType) -> DescribeTaskQueueResponse:
    """Return the server's description of a queue, with its statistics."""
    return await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind, report_stats=True
        ),
        retry=True,
    )
