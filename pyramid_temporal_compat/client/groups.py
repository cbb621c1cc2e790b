"""Groups of results by their id: as they were saved, or as the canvas that they belong to was asked for.

A saved group is the memo of a workflow that never runs: it is ended as it begins, and kept as long as results are.
"""

from __future__ import annotations

import datetime
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.common import RawValue, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from ..exceptions import InvalidTaskError
from ..message.ids import saved_group_id, workflow_of
from ..message.nodes import ChordNode, GroupNode, Node
from ..message.tree import Tree, is_tree
from ..payload.converter import from_raw
from .forgetting import delete

SAVED = "ptemporal-group"
"""The type of the workflow, and its memo's key. It stands in histories: it is never changed."""
NEVER = datetime.timedelta(days=1)
"""So long no worker is asked to run it, which is ended at once."""


async def save_group(client: Client, group_id: str, written: Any, queue: str) -> None:
    """Keep what `GroupResult.as_tuple` has written."""
    handle = await client.start_workflow(
        SAVED,
        id=saved_group_id(group_id),
        task_queue=queue,
        memo={SAVED: written},
        start_delay=NEVER,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
    )
    await handle.terminate("saved")


async def find_group(client: Client, group_id: str) -> Any:
    """What was saved of the group, or what its canvas says of it; None if neither is there."""
    try:
        described = await client.get_workflow_handle(saved_group_id(group_id)).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    else:
        return (await described.memo())[SAVED]
    for workflow_id in (workflow_of(group_id), group_id):
        tree = await tree_of(client, workflow_id) if workflow_id else None
        if tree is not None and (found := group_in(tree.root, group_id)) is not None:
            return found
    return None


async def forget_group(client: Client, group_id: str) -> None:
    """Delete what was saved of it; its tasks' results stay."""
    await delete(client, saved_group_id(group_id))


async def tree_of(client: Client, workflow_id: str) -> Tree | None:
    """The canvas that a workflow was started with."""
    handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(workflow_id)
    try:
        async for event in handle.fetch_history_events(page_size=1):
            payloads = event.workflow_execution_started_event_attributes.input.payloads
            raw = await client.data_converter.decode(payloads, [RawValue] * len(payloads))
            found = [from_raw(value) for value in raw]
            return Tree.decode(found) if found and is_tree(found[0].data) else None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    except InvalidTaskError:
        pass  # another's workflow, by the look of its input
    return None


def group_in(node: Node, group_id: str) -> Any:
    """The group of this id in a canvas, as `GroupResult.as_tuple` writes it."""
    if isinstance(node, GroupNode) and node.id == group_id:
        return node.result()
    if isinstance(node, ChordNode) and node.group_id == group_id:
        return node.header_result()
    for _, part in node.parts():
        if (found := group_in(part, group_id)) is not None:
            return found
    return None
