"""Ask the server about a queue."""

from __future__ import annotations

from typing import NamedTuple

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client


class QueueState(NamedTuple):
    """Celery's answer to the declaration of a queue."""

    queue: str
    message_count: int
    """Approximate number of tasks that wait for a worker. Tasks with an eta are not counted."""
    consumer_count: int
    """Number of workers that have asked for the queue's tasks in the last minutes."""


async def queue_state(client: Client, queue: str) -> QueueState:
    """Return how many tasks and workers the server counts for a queue."""
    waiting, workers = 0, set()
    for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
        found = await client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind, report_stats=True
            ),
            retry=True,
        )
        waiting += found.stats.approximate_backlog_count
        workers |= {poller.identity for poller in found.pollers}
    return QueueState(queue, waiting, len(workers))
