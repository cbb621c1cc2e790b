"""Save groups of results under their ids, and find them again, also groups of a canvas that were never saved.

A saved group is the memo of a workflow that never runs, because it is terminated at once. The server keeps it for as
long as it keeps results.
"""

from __future__ import annotations

from typing import Any

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from ..message.tree import Chain, Chord, Group, Node, Task, header_result, whole_result
from .history import tree_of
from .task_actions import NEVER, delete_workflow

SAVED = "ptemporal-group"
"""The workflow's type, and the key in its memo. Never change it: histories contain it."""


async def save_group(client: Client, group_id: str, written: Any, queue: str) -> None:
    """Keep a group as `GroupResult.as_tuple` has written it."""
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
    """Return the group as it was saved, else as its canvas has it; None if the server has neither."""
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
    """Delete a saved group. The results of its tasks stay."""
    await delete_workflow(client, _saved(group_id))


def group_in(node: Node, group_id: str) -> Any:
    """Return the group of this id in a canvas, as `GroupResult.as_tuple` writes it; None if it has no such group."""
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
