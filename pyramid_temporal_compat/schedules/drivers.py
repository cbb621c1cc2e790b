"""The drivers of Schedules whose times only their class knows: a workflow each, which fires the Schedule.

The Schedule of such an entry has no times of its own. So the server treats pausing, overlap, the last runs, ownership
and deletion as for any other Schedule. The driver ends when its Schedule is gone. `worker/workflows/schedule_driver.py`
has its code.
"""

from __future__ import annotations

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from ..message import wire_names as wire
from .declaration import Declared


def driver_id(schedule_id: str) -> str:
    """Return the id of the workflow that drives a Schedule."""
    return f"{wire.DRIVER}:{schedule_id}"


async def start_driver(client: Client, declared: Declared) -> None:
    """Start the driver of a driven entry. A driver that runs is replaced, because the entry's queue may be another."""
    if declared.is_driven:
        await client.start_workflow(
            wire.DRIVER,
            args=[declared.application, declared.entry.name],
            id=driver_id(declared.id),
            task_queue=declared.schedule.action.start_workflow.task_queue.name,
            id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
        )


async def has_its_driver(client: Client, declared: Declared) -> bool:
    """Return whether an entry lacks no driver: one is running, or the server fires the entry by itself."""
    if not declared.is_driven:
        return True
    try:
        found = await client.get_workflow_handle(driver_id(declared.id)).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    queue = declared.schedule.action.start_workflow.task_queue.name
    return found.status is WorkflowExecutionStatus.RUNNING and found.task_queue == queue
