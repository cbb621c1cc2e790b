"""Runs parts of a tree in child workflows: the batches of a large group or chain, and tasks that had an id before."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ChildWorkflowError, FailureError

from ...message import wire_names as wire
from ...message.failures import how_it_failed
from ...message.ids import select_below
from ...message.message import total_size
from ...message.nodes import Node
from ...message.tree import Tree
from ...payload import Payload
from ...payload.converter import from_raw
from ...payload.headers import to_arguments
from .canvas_limits import CommandBudget
from .node_values import MemberFailed, Value, dependency_of, flattened, read_values
from .tree_notes import refuse_too_large, too_large


class Background:
    """Work that goes on beside the tree: the workflow does not end before it has. Belongs to the workflow's loop."""

    def __init__(self) -> None:
        # A dict and not a set: the order in which the workflow waits for these tasks must be deterministic.
        self._tasks: dict[asyncio.Task[None], None] = {}

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def ended(self) -> None:
        """Return when all of it has ended, with what it started meanwhile."""
        while self._tasks:
            await together(list(self._tasks))


class Children:
    """The child workflows of one workflow. Belongs to its event loop."""

    def __init__(self, refused: set[str], limit: int, commands: CommandBudget, background: Background) -> None:
        """
        :param refused: ids of revoked members. The workflow adds to it.
        :param limit: size in bytes that a child's tree may have.
        """
        self._refused = refused
        self._limit = limit
        self._commands = commands
        self._background = background
        self._handles: dict[str, workflow.ChildWorkflowHandle[Any, Any]] = {}

    async def run(self, tree: Tree, child_id: str, before: Value) -> Value:
        """Run a tree in a child workflow and return its value. Raises `MemberFailed`."""
        payloads: list[Payload] = []
        if before is not None and tree.root.takes:
            refuse_too_large(replace(tree.root.result_message, id=child_id), before, self._limit)
            structure = flattened(before, payloads)
            tree = replace(tree, before=structure, payloads=tuple(payloads))
        tree = replace(
            tree, from_parent=replace(tree.from_parent, revoked=tuple(select_below(sorted(self._refused), child_id)))
        )
        encoded = tree.encode()
        if (size := total_size(encoded)) > self._limit:
            raise too_large(
                replace(tree.root.result_message, id=child_id),
                f"{size:,} bytes can't be handed to the workflow {child_id}",
            )
        await self._commands.room_for(size)
        try:
            result = from_raw(await self._start(tree, child_id, encoded))
        except ChildWorkflowError as error:
            if workflow.cancellation_reason() is not None:
                raise
            failed = MemberFailed(tree.root.result_message, error.cause or error)
            failed.dependency = dependency_of(error.cause) or failed.dependency
            raise failed from error
        return read_values(result) if wire.VALUES in result.metadata else result

    async def fail(self, node: Node, reason: BaseException) -> None:
        """Start the workflow of a node that never runs, and let it fail.

        A client that has the node's id asks this workflow how the node ended.
        """
        state, error = how_it_failed(reason)
        ending = json.dumps({"state": state, "error": wire.plain(error)}).encode()
        tree = Tree(node, before={"failed": 0}, payloads=(Payload({"encoding": b"json/plain"}, ending),))
        with contextlib.suppress(ChildWorkflowError):  # as it should
            await self._start(tree, node.id, tree.encode())

    def revoke(self, ids: Sequence[str]) -> None:
        """Tell the running children which of their members are revoked."""
        for child_id in self._handles:
            self._tell(child_id, select_below(ids, child_id))

    async def _start(self, tree: Tree, child_id: str, payloads: Sequence[Payload]) -> RawValue:
        handle = await workflow.start_child_workflow(
            tree.task,
            args=to_arguments(payloads),
            id=child_id,
            result_type=RawValue,
            memo=wire.memo_of(tree),
            static_summary=tree.summary[: wire.SUMMARY_LIMIT],
        )
        self._handles[child_id] = handle
        try:
            self._tell(
                child_id,
                [id for id in select_below(sorted(self._refused), child_id) if id not in tree.from_parent.revoked],
            )
            found: RawValue = await handle
        finally:
            del self._handles[child_id]
        return found

    def _tell(self, child_id: str, revoked: Sequence[str]) -> None:
        handle = self._handles[child_id]

        async def tell() -> None:
            with contextlib.suppress(FailureError):  # the child has ended meanwhile
                await handle.signal(wire.REVOKE, list(revoked))

        if revoked:
            self._background.start(tell())


async def together(tasks: Sequence[asyncio.Task[Any]], all_of: Sequence[asyncio.Task[Any]] | None = None) -> None:
    """Wait until `tasks` have ended. If the workflow is cancelled, cancel `all_of` them and let them end first."""
    try:
        await workflow.wait(tasks)
    except asyncio.CancelledError:
        for task in all_of or tasks:
            task.cancel()
        await workflow.wait(list(all_of or tasks))
        raise
