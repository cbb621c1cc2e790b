"""Runs a tree within its workflow: chains one step after the other, groups side by side, chords, links, errbacks.

How the work is divided:

`tree_workflow`   the tree: which node runs when, with what, and what follows from its value or its failure
`tree_members`    a member that belongs to this workflow: in a slice, or as an activity whose id is the member's id
`slices`          slices: activities that run several members, as `slice_plan` says
`tree_children`   parts that belong to another workflow, as their ids say: the batches of a large group or chain, and
                  tasks that had their id before the tree was made
`tree_notes`      notes in the workflow's memo about members that never ran
`canvas_limits`   what keeps all this within the limits of the server
`node_values`     the values, errors and failures of nodes, as they pass between workflows

Results pass through as they came: workflow code never reads them. Like all workflow code, this is replayed.
`task_workflow` says what a change to its commands asks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import workflow

from ... import states
from ...message import wire_names as wire
from ...message.failures import how_it_failed
from ...message.ids import bundle_of, is_below, prefix_of, workflow_of
from ...message.nodes import ChainNode, ChordNode, GroupNode, Node, TaskNode
from ...message.slices import SliceReport
from ...message.tree import FromParent, Tree
from .canvas_limits import HISTORY_ROOM, CommandBudget, FairSemaphore, history_is_full, measured
from .node_values import (
    Error,
    MemberFailed,
    MemberHalted,
    Value,
    as_workflow_failure,
    call_of,
    chord_failure,
    unflattened,
)
from .slices import Slices
from .task_run import ActivityReplaced
from .tree_children import Background, Children, together
from .tree_members import Following, Members
from .tree_notes import note_alike, note_briefly

ORPHANS = ""
"""Stands for a chord whose header runs here, while the chord itself runs in the workflow above."""
BATCHES_AT_ONCE = 4
"""Child workflows of a large group that run at a time, each with its share of the tasks that may be under way."""
FEW = 20
"""Up to so many members get a note each of how they ended. More members share one note."""
GIVEN_LIMIT = 16 * 1024
"""Bytes of a failed task's arguments that each of its error callbacks is sent. Once the history is half full, error
callbacks get no arguments, because they have to run even if hundreds of tasks fail at once."""


class TreeRun:
    """The run of one tree. Belongs to its workflow's event loop."""

    def __init__(self, tree: Tree, ahead: timedelta, refused: set[str], *, nested: bool = False) -> None:
        """
        :param ahead: by how much the server's clock is ahead of the sender's.
        :param refused: ids of revoked members, which must not start. The workflow adds to it.
        :param nested: the tree took the place of a single task, so a task ran before it.
        """
        self.tree = tree
        self.id = workflow.info().workflow_id
        self._refused = refused
        self._added: dict[str, list[Node]] = {}
        """Nodes that running members have added to the header of their chord, by the chord's id."""
        self._first_failure: MemberFailed | None = None
        """What the workflow ends with: the failure of the root, or of a bundle's first task that has failed."""
        self._places = FairSemaphore(tree.at_once)
        self._batches = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._background = Background()
        commands = CommandBudget()
        something_ran = nested or tree.from_parent.later
        beside = BATCHES_AT_ONCE if tree.from_parent.of else 1
        slices = Slices(tree.slice_seconds, self._places, self._background, commands, refused, beside)
        self._members = Members(tree, ahead, refused, self._places, commands, slices, something_ran=something_ran)
        self._children = Children(refused, tree.limit, commands, self._background)

    async def run(self) -> Value:
        """Return the root's value, or raise its failure, once all linked tasks have ended too."""
        value: Value = None
        try:
            if self.tree.bundle:
                for node in self._members_of_bundle():
                    self._background.start(self._task_of_bundle(node))
            else:
                value = await self._node(self.tree.root, self._before(), "", self.tree.from_parent.follows)
        except MemberFailed as failure:
            self._first_failure = failure
        self._call_later(self._added.get(ORPHANS, ()), None)
        await self._background.ended()
        if (failed := self._first_failure) is not None:
            raise as_workflow_failure(failed) from failed.reason
        return value

    def revoke(self, ids: Sequence[str]) -> None:
        """Keep members from starting. A running member runs to its end, as a single task does."""
        self._refused.update(ids)
        self._members.cancel(ids)
        self._children.revoke(ids)

    def slice_reported(self, report: SliceReport) -> None:
        """Take over what a worker tells of the members of a slice before the slice has ended."""
        self._members.slices.reported(report)

    def _before(self) -> Value:
        return None if self.tree.before is None else unflattened(self.tree.before, self.tree.payloads)

    def _members_of_bundle(self) -> Sequence[Node]:
        assert isinstance(self.tree.root, GroupNode)
        return self.tree.root.members

    async def _task_of_bundle(self, node: Node) -> None:
        """Run a task of a bundle. No other task depends on it.

        The workflow ends with the failure of the first task that has failed, so that lists of failed workflows show it.
        """
        try:
            await self._node(node, None, "")
        except MemberFailed as failed:
            if self._first_failure is None and is_failure(failed):
                self._first_failure = failed

    # --- nodes -----------------------------------------------------------------------------------
    #
    # `before` is the value of the node that came before. `place` says for the web UI where in the tree a task
    # stands. `follows` names the tasks that run with the node's result: the task that ends the node counts them
    # among its children.

    async def _node(self, node: Node, before: Value, place: str, follows: Sequence[Any] = ()) -> Value:
        """Run a node and return its value. Raises `MemberFailed`."""
        if not self._is_here(node):
            return await self._children.run(self._part(node, follows), node.id, before)
        if isinstance(node, TaskNode):
            return await self._task(node, before, place, follows)
        if isinstance(node, ChainNode):
            return await self._chain(node, before, place, follows)
        if isinstance(node, ChordNode):
            return await self._chord(node, before, place, follows)
        return await self._group(node, before, place)

    async def _task(
        self, node: TaskNode, before: Value, place: str, follows: Sequence[Any], then: Iterable[Following] = ()
    ) -> Value:
        try:
            value = await self._member(node, before, place, follows, then)
        except MemberFailed as failed:
            self._call_errbacks(node.errbacks, failed)
            raise
        self._call_later(node.links, value)
        return value

    async def _member(
        self, node: TaskNode, before: Value, place: str, follows: Sequence[Any], then: Iterable[Following]
    ) -> Value:
        """Return the result of a task, or of the tree that took its place."""
        children = children_of(node, follows)
        try:
            value = await self._members.run(node, before, place, children, then)
        except ActivityReplaced as replaced:
            replacement = Tree.decode(replaced.payloads).root
        else:
            self._add_to_chord(node.message.chord, wire.added_trees(value))
            return value
        return await self._node(replacement, None, place, children)

    def _add_to_chord(self, chord: str | None, trees: Sequence[Tree]) -> None:
        """Have the chord's header run these trees too."""
        for tree in trees:
            known = chord if chord in self._added else ORPHANS
            self._added.setdefault(str(known), []).append(tree.root)

    async def _chain(self, node: ChainNode, before: Value, place: str, follows: Sequence[Any]) -> Value:
        value = before
        number, of = self.tree.from_parent.first, max(self.tree.from_parent.of, len(node.steps))
        rest = node.steps
        for steps in self._batched(node.steps):
            rest = rest[len(steps) :]
            after = [rest[0].first_result()] if rest else follows
            try:
                if self._is_below(steps[0]):
                    value = await self._steps_below(steps, value, after, number, of)
                elif isinstance(step := steps[0], TaskNode) and self._is_here(step):
                    then = self._next_steps(step, rest, follows)
                    value = await self._task(step, value, f"{place}{number + 1}/{of} ", after, then)
                else:
                    value = await self._node(steps[0], value, f"{place}{number + 1}/{of} ", after)
            except MemberFailed as failed:
                await self._never_run(rest, failed)
                raise
            number += len(steps)
        return value

    def _next_steps(self, step: TaskNode, rest: Sequence[Node], follows: Sequence[Any]) -> Iterator[Following]:
        """Yield the steps that can run right after a step, without this workflow between them."""
        for place, following in enumerate(rest, 1):
            # What is linked to a step begins when this workflow learns of the step's end.
            if step.links or not isinstance(following, TaskNode) or not self._is_here(following):
                return
            step = following
            yield step, children_of(step, [rest[place].first_result()] if place < len(rest) else follows)

    async def _steps_below(
        self, steps: Sequence[Node], before: Value, follows: Sequence[Any], first: int, of: int
    ) -> Value:
        """Run a batch of a long chain's steps in a child workflow."""
        container = workflow_of(steps[0].id)
        at_once = min(max(step.width for step in steps), max(1, self.tree.at_once // BATCHES_AT_ONCE))
        async with self._places.taken(at_once):
            tree = self._part(ChainNode(container, tuple(steps)), follows, at_once=at_once, first=first, of=of)
            return await self._children.run(tree, container, before)

    async def _group(self, node: GroupNode, before: Value, place: str) -> list[Value]:
        try:
            is_batch = node is self.tree.root and self.tree.keeps
            values = await self._side_by_side(node.members, before, place, chord=ORPHANS if is_batch else None)
        except MemberFailed as failed:
            self._call_errbacks(node.errbacks, failed)
            raise
        self._call_later(node.links, values)
        return values

    async def _chord(self, node: ChordNode, before: Value, place: str, follows: Sequence[Any]) -> Value:
        try:
            values = await self._side_by_side(node.header, before, place, chord=node.id)
        except MemberFailed as failed:
            raise await self._failed_chord(node, failed) from failed
        return await self._node(node.body, values, f"{place}body ", follows)

    async def _failed_chord(self, node: ChordNode, failed: MemberFailed) -> MemberFailed:
        """Fail the body, call the error callbacks, and return the chord's failure."""
        failure = chord_failure(node, failed)
        # The members of a body that is a group fail with the error itself: Celery's rule.
        reason = failed.reason if isinstance(node.body, GroupNode) else failure.reason
        await self._never_run([node.body], MemberFailed(failure.message, reason))
        for errback, about in zip(node.errbacks, node.errback_subjects or itertools.repeat(node.id), strict=False):
            if call_of(errback) not in failed.heard:
                alike = MemberFailed(replace(failure.message, id=about), reason)
                alike.given = failure.given
                self._call_errbacks([errback], alike)
        failure.heard = failed.heard | {call_of(errback) for errback in node.errbacks}
        return failure

    async def _side_by_side(
        self, nodes: Sequence[Node], before: Value, place: str, chord: str | None = None
    ) -> list[Value]:
        """Return the values of all nodes, in order. All of them end; then the first failure is raised.

        :param chord: the chord whose header these nodes are. Its members may add nodes to it.
        """
        added = self._added.setdefault(chord, []) if chord is not None else []
        running: list[asyncio.Task[list[Value]]] = []
        number, of = 0, len(nodes)
        if self.tree.from_parent.of and place == "":  # a batch of a larger group
            number, of = self.tree.from_parent.first, self.tree.from_parent.of
        results = ResultRoom(self.tree.limit if self.tree.from_parent.room is None else self.tree.from_parent.room)
        for batch in list(self._batched(nodes)):
            if self._is_below(batch[0]):
                below = self._members_below(batch, before, number, of, results if chord is not None else None)
                running.append(asyncio.create_task(below))
            else:
                running.append(asyncio.create_task(self._one(batch[0], before, f"{place}{number + 1}/{of} ")))
            number += len(batch)
        ended: list[asyncio.Task[list[Value]]] = []
        while running or added:
            while added:
                running.append(asyncio.create_task(self._one(added.pop(0), None, f"{place}added ")))
            await together(running[:1], running)
            ended.append(running.pop(0))
        failures = [failure for task in ended if (failure := task.exception()) is not None]
        if failures:
            raise failures[0]
        return [value for task in ended for value in task.result()]

    async def _one(self, node: Node, before: Value, place: str) -> list[Value]:
        try:
            return [await self._node(node, before, place)]
        except MemberFailed as failed:
            failed.dependency = node.id
            raise

    async def _members_below(
        self, nodes: Sequence[Node], before: Value, first: int, of: int, results: ResultRoom | None
    ) -> list[Value]:
        """Run a batch of a large group's members in a child workflow.

        :param results: the room for their results; None if nobody needs the results here.
        """
        container = workflow_of(nodes[0].id)
        group = GroupNode(container, tuple(nodes))
        async with self._batches:
            at_once = min(group.width, max(1, self.tree.at_once // BATCHES_AT_ONCE))
            async with self._places.taken(at_once):
                room = None if results is None else results.left
                part = self._part(group, at_once=at_once, first=first, of=of, room=room)
                part = replace(part, keeps=results is not None)
                found: list[Value] = await self._children.run(part, container, before)
        if results is not None:
            results.left = max(0, results.left - measured(found)[1])
        return found

    # --- which workflow a node belongs to --------------------------------------------------------

    def _is_here(self, node: Node) -> bool:
        """Return whether this workflow runs the node itself: its id says so."""
        own = node.id
        return self.id in (own, workflow_of(own)) or (self.tree.bundle and self.id == bundle_of(own))

    def _is_below(self, node: Node) -> bool:
        """Return whether the node belongs to a batch, which a child workflow runs."""
        return is_below(workflow_of(node.id), self.id)

    def _batched(self, nodes: Sequence[Node]) -> Iterator[list[Node]]:
        """Yield the nodes of each batch together, and every other node by itself."""
        batch: list[Node] = []
        for node in nodes:
            container = workflow_of(node.id)
            if batch and container != workflow_of(batch[0].id):
                yield batch
                batch = []
            if self._is_below(node):
                batch.append(node)
            else:
                yield [node]
        if batch:
            yield batch

    def _part(self, node: Node, follows: Sequence[Any] = (), at_once: int = 0, **more: Any) -> Tree:
        """Return the tree that a child workflow runs."""
        found = FromParent(tuple(follows), later=self._members.something_ran, **more)
        part = replace(self.tree, root=node, before=None, payloads=(), keeps=True, bundle=False, from_parent=found)
        return replace(part, at_once=at_once or self.tree.at_once)

    # --- what follows ----------------------------------------------------------------------------

    async def _never_run(self, nodes: Sequence[Node], failed: MemberFailed) -> None:
        """Have the nodes that would have run next fail with the same error."""
        alike: dict[str, None] = {}
        for node in nodes:
            ids = dict.fromkeys([node.id, *(leaf.message.id for leaf in node.leaves())])
            if self._is_below(node):
                alike[prefix_of(workflow_of(node.id))] = None
            elif not self._is_here(node):
                await self._children.fail(node, failed.reason)
            elif len(ids) + len(nodes) > FEW:
                alike |= dict.fromkeys(self._noted_as(member) for member in ids)
            else:
                for member in ids:
                    note_briefly(member, failed.reason)
        if alike:
            note_alike(alike, failed.reason)

    def _noted_as(self, member: str) -> str:
        """Return the member's id; for a member of a batch, the id of its child workflow and a slash."""
        container = workflow_of(member)
        return prefix_of(container) if is_below(container, self.id) else member

    def _call_later(self, nodes: Sequence[Node], before: Value, place: str = "link ") -> None:
        for node in nodes:
            self._background.start(self._quietly(node, before, place))

    def _call_errbacks(self, nodes: Sequence[Node], failed: MemberFailed) -> None:
        if not nodes or not is_failure(failed):
            return
        _, error = how_it_failed(failed.reason)
        given = failed.given
        if given is not None and (given.size > GIVEN_LIMIT or history_is_full(HISTORY_ROOM // 2)):
            given = None
        self._call_later(nodes, Error(failed.message, wire.plain(error), given), "errback ")

    async def _quietly(self, node: Node, before: Value, place: str) -> None:
        """Run a linked node: it has a result of its own, and does not change the result of another node."""
        with contextlib.suppress(MemberFailed):
            await self._node(node, before, place)


def children_of(node: TaskNode, follows: Sequence[Any]) -> list[Any]:
    """Return the tasks that run with the result of a task."""
    return [*(link.first_result() for link in node.links), *follows]


def is_failure(failed: MemberFailed) -> bool:
    """Return whether a member has failed: it was not revoked, and did not end by `Ignore` or `Reject`."""
    return not isinstance(failed.reason, MemberHalted) and how_it_failed(failed.reason)[0] != states.REVOKED


class ResultRoom:
    """How many bytes of results the workflow above can still use."""

    def __init__(self, left: int) -> None:
        self.left = left
