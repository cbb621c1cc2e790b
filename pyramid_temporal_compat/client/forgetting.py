"""Forgetting results: the server deletes their workflows. In one that others share, only this task is not found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError

from ..message import wire_names as wire
from ..message.ids import bundle_of, is_below, workflow_of
from .members import READERS, describe_bundle, describe_tree, is_absent, nearest_tree
from .tasks import is_forgotten, take_id


async def forget_all(client: Client, tasks: Sequence[str], groups: Sequence[str] = ()) -> None:
    """
    :param groups: the ids of groups. One that is a canvas of its own, or comes last in it, has that canvas's workflow.
    """
    deleted: set[str] = set()

    async def delete_one(task_id: str) -> None:
        if await is_forgotten(client, task_id) or await delete(client, task_id):
            deleted.add(task_id)

    async def delete_group(group_id: str) -> None:
        if await describe_tree(client, group_id) is not None:
            await delete_one(group_id)

    await each(groups, delete_group)
    await each(tasks, delete_one)
    shared: dict[str, list[str]] = {}
    for task_id in tasks:
        if task_id not in deleted:
            shared.setdefault(workflow_of(task_id) or bundle_of(task_id), []).append(task_id)
    for workflow_id, members in shared.items():
        if any(is_below(workflow_id, above) for above in deleted):  # a lot of what is gone
            await delete(client, workflow_id)
        elif workflow_id not in deleted and await is_shared(client, members[0]):
            await each(members, lambda task_id: take_id(client, task_id, wire.FORGOTTEN, "forgotten"))


async def is_shared(client: Client, task_id: str) -> bool:
    found = nearest_tree(client, task_id) if workflow_of(task_id) else describe_bundle(client, task_id)
    return await found is not None


async def delete(client: Client, workflow_id: str) -> bool:
    """Have the server delete a workflow; false if there is none."""
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace, workflow_execution=WorkflowExecution(workflow_id=workflow_id)
    )
    try:
        await client.workflow_service.delete_workflow_execution(request)
    except RPCError as error:
        if not is_absent(error):
            raise
        return False
    return True


async def each(ids: Iterable[str], call: Callable[[str], Awaitable[object]]) -> None:
    turn = asyncio.Semaphore(READERS)

    async def one(task_id: str) -> None:
        async with turn:
            await call(task_id)

    await asyncio.gather(*map(one, ids))
