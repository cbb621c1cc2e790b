"""Save groups of results under their ids, and find them again, also groups of a canvas that were never saved.

A saved group is the memo of a workflow that never runs, because it is terminated at once. The server keeps it for as
long as it keeps results.
"""

from __future__ import annotations

from typing import Any

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from ..message.ids import saved_group_id, workflow_of
from ..message.nodes import ChordNode, GroupNode, Node
from .history import tree_of
from .read_status import is_written_result
from .task_actions import NEVER, delete_workflow

SAVED = "ptemporal-group"
"""The workflow's type, and the key in its memo. Never change it: histories contain it."""


async def save_group(client: Client, group_id: str, written: Any, queue: str) -> None:
    """Keep a group as `GroupResult.as_tuple` has written it."""
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
    """Return the group as it was saved, else as its canvas has it; None if the server has neither."""
    try:
        described = await client.get_workflow_handle(saved_group_id(group_id)).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    else:
        saved = (await described.memo()).get(SAVED)
        if is_written_result(saved):
            return saved
    for workflow_id in (workflow_of(group_id), group_id):
        tree = await tree_of(client, workflow_id) if workflow_id else None
        if tree is not None and (found := group_in(tree.root, group_id)) is not None:
            return found
    return None


async def forget_group(client: Client, group_id: str) -> None:
    """Delete a saved group. The results of its tasks stay."""
    await delete_workflow(client, saved_group_id(group_id))


def group_in(node: Node, group_id: str) -> Any:
    """Return the group of this id in a canvas, as `GroupResult.as_tuple` writes it; None if it has no such group."""
    if isinstance(node, GroupNode) and node.id == group_id:
        return node.result()
    if isinstance(node, ChordNode) and node.group_id == group_id:
        return node.header_result()
    for _, part in node.parts():
        if (found := group_in(part, group_id)) is not None:
            return found
    return None
