"""Step: make the request that the task sees as `self.request`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...canvas.tree_to_signature import Linked, LinkedContext
from ...context import Context
from ...task.task import Task
from ..job import Job

if TYPE_CHECKING:
    from ...interfaces import AppLike


def make_request(app: AppLike, job: Job, task: Task, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Context:
    """Return the task's `self.request`, before its Pyramid request is made."""
    message = job.message
    headers = message.read_headers()
    linked = {} if message.linked is None else {"linked": Linked(app, message, job.previous_results)}
    return (LinkedContext if linked else Context)(
        **linked,
        args=args,
        argsrepr=message.argsrepr,
        called_directly=False,
        correlation_id=message.id,
        delivery_info={
            "exchange": "",
            "routing_key": message.queue,
            "priority": message.priority,
            "redelivered": job.redelivered,
        },
        eta=message.eta.isoformat() if message.eta else None,
        expires=message.expires.isoformat() if message.expires else None,
        chord=message.chord,
        group=message.group,
        group_index=message.group_index,
        headers=headers or None,
        hostname=job.hostname,
        id=message.id,
        ignore_result=bool(task.ignore_result if message.ignore_result is None else message.ignore_result),
        kwargs=kwargs,
        kwargsrepr=message.kwargsrepr,
        origin=message.origin,
        parent_id=message.parent_id,
        properties={
            "correlation_id": message.id,
            "delivery_mode": 2,  # what Celery's tasks find there: every message is stored
            "priority": message.priority,
            "reply_to": "",
            **message.properties,
        },
        replaced_task_nesting=message.replaced_task_nesting,
        retries=job.retries,
        root_id=message.root_id,
        shadow=message.shadow,
        stamped_headers=headers.get("stamped_headers"),
        stamps=headers.get("stamps"),
        task=message.task,
        timelimit=(message.time_limit, message.soft_time_limit),
        workflow_id=job.workflow_id,
    )
