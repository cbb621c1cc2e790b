"""Whether two runs of a workflow's id are of one task: the second may be a reset of the first, or a new one."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

Execution = tuple[str, str]
"""The ids of a workflow and of its run."""


async def same_chain(client: Client, one: Execution, other: Execution) -> bool:
    origin = await _origin(client, one)
    return origin is not None and origin in (other, await _origin(client, other))


async def _origin(client: Client, execution: Execution) -> Execution | None:
    """The first run of the chain that it came of; of a child workflow, of its root's. None if the server has lost it.

    A workflow that is reset starts its children anew, so what tells theirs apart is where they began.
    """
    workflow_id, run_id = execution
    try:
        found = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    info = found.raw_description.workflow_execution_info
    root = info.root_execution
    if root.workflow_id not in ("", workflow_id):
        return await _origin(client, (root.workflow_id, root.run_id)) or (root.workflow_id, root.run_id)
    return workflow_id, info.first_run_id or run_id
