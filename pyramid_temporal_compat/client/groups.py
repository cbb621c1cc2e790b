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
from ..message.tree import Chain, Chord, Group, Node, Task, Tree, header_result, is_tree, whole_result
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
        id=_saved(group_id),
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
        described = await client.get_workflow_handle(_saved(group_id)).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    else:
        return (await described.memo())[SAVED]
    for workflow_id in (group_id.rpartition("/")[0], group_id):
        tree = await tree_of(client, workflow_id) if workflow_id else None
        if tree is not None and (found := group_in(tree.root, group_id)) is not None:
            return found
    return None


async def forget_group(client: Client, group_id: str) -> None:
    """Delete what was saved of it; its tasks' results stay."""
    await delete(client, _saved(group_id))


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
    if isinstance(node, Group) and node.id == group_id:
        return whole_result(node)
    if isinstance(node, Chord) and node.group_id == group_id:
        return header_result(node)
    for part in _parts(node):
        if (found := group_in(part, group_id)) is not None:
            return found
    return None


def _parts(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Task):
        return (*node.links, *node.errbacks)
    if isinstance(node, Chain):
        return node.steps
    if isinstance(node, Group):
        return (*node.members, *node.links, *node.errbacks)
    return (*node.header, node.body, *node.errbacks)


def _saved(group_id: str) -> str:
    return f"{group_id}/saved"
