"""What the server says of itself and of a queue."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeTaskQueueRequest
from temporalio.client import Client


class QueueState(NamedTuple):
    """Celery's answer to the declaration of a queue."""

    queue: str
    message_count: int
    """Tasks that wait for a worker, about; those with an eta wait elsewhere."""
    consumer_count: int
    """Workers that serve it, as seen in the last minutes."""


async def answers(client: Client, timeout: float) -> None:
    """Return if the server answers, and has the namespace."""
    request = DescribeNamespaceRequest(namespace=client.namespace)
    await client.workflow_service.describe_namespace(request, timeout=timedelta(seconds=timeout))


async def queue_state(client: Client, queue: str) -> QueueState:
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
