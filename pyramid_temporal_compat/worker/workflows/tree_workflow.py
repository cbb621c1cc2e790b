"""Runs a tree within its workflow: chains one step after the other, groups side by side, chords, links, errbacks.

A member is an activity whose id is the member's id. What lies in another workflow, as its id says, is run by a child
workflow: the batches of a large group, and what had its id before the tree was made. Results pass through as they
came; what reads a member's state is the history, and for an end that no activity tells, the workflow's memo.

Like all workflow code this is replayed: a change that alters the commands needs `workflow.patched`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, CancelledError, ChildWorkflowError, FailureError

from ... import states
from ...exceptions import InvalidTaskError, PayloadTooLarge
from ...message import wire_names as wire
from ...message.failures import error_of, how_it_failed
from ...message.ids import bundle_of, is_below, prefix_of, select_below, workflow_of
from ...message.message import Message, total_size
from ...message.nodes import ChainNode, ChordNode, GroupNode, Node, TaskNode
from ...message.tree import Above, Tree
from ...payload import Payload
from ...payload.converter import from_raw, to_raw
from .canvas_limits import HISTORY_ROOM, Answers, Slots, history_is_full, measured
from .node_values import (
    Error,
    Halted,
    MemberFailed,
    Value,
    added_with,
    as_workflow_failure,
    call_of,
    chord_failure,
    dependency_of,
    ended_without_result,
    flattened,
    read_values,
    revoked,
    unflattened,
)
from .task_run import Replaced, run_message

ORPHANS = ""
"""Stands for a chord whose header is run here, and the chord itself by the workflow above."""
BATCHES_AT_ONCE = 4
"""Child workflows of a large group that run at a time, each with its share of the tasks that may be under way."""
SHARED_SLOTS = "shared-slots"
NOTED_ALIKE = "noted-alike"
WAITS_OUTSIDE = "waits-outside"
ERRBACKS_SEE_ARGUMENTS = "errbacks-see-arguments"
"""Patches: they stand in histories."""
FEW = 20
"""So many members get a note each of how they have ended; of more, one note tells it."""

NOTE_LIMIT, TEXT_LIMIT = 64 * 1024, 1000
"""Bytes of the error that a member which never ran is said to have failed of, since all notes together may take 2 MiB,
and characters of its text beyond that: the member that did fail has the whole of it."""

SHOWN_LIMIT = 64 * 1024
"""Bytes of what is linked to a task that are sent along for it to see: they count among what its activity may take."""
GIVEN_LIMIT = 16 * 1024
"""Bytes of a failed task's arguments that each of its error callbacks is sent, and none of them from where a history is
half full: error callbacks have to run, even if hundreds of tasks fail at once."""


class TreeRun:
    """The run of one tree. Belongs to its workflow's event loop."""

    def __init__(self, tree: Tree, ahead: timedelta, revoked: set[str], *, nested: bool = False) -> None:
        """
        :param revoked: the members that must not start; added to while this runs.
        :param nested: the tree took the place of a single task, so that something came before it.
        """
        self.tree = tree
        self.id = workflow.info().workflow_id
        self.revoked = revoked
        self._ahead = ahead
        self._follows = nested or tree.above.later
        self._running: dict[str, asyncio.Task[Payload]] = {}
        self._later: dict[asyncio.Task[None], None] = {}  # in order: what waits for them must be deterministic
        self._added: dict[str, list[Node]] = {}
        self._children: dict[str, workflow.ChildWorkflowHandle[Any, Any]] = {}
        self._slots = Slots(tree.at_once)
        self._batches = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._answers = Answers()
        self._largest = 0
        """Bytes of the largest result so far: those to come may be as large."""

    async def run(self) -> Value:
        """The root's value. Ends when all that is linked has ended too; fails as the root fails."""
        failed: MemberFailed | None = None
        value: Value = None
        try:
            if self.tree.bundle:
                self._call_later(self._members_of_bundle(), None, "")
            else:
                value = await self._node(self.tree.root, self._before(), "", self.tree.above.follows)
        except MemberFailed as failure:
            failed = failure
        self._call_later(self._added.get(ORPHANS, ()), None)
        while self._later:
            await together(list(self._later))
        if failed is not None:
            raise as_workflow_failure(failed) from failed.reason
        return value

    def revoke(self, ids: Sequence[str]) -> None:
        """Keep members from starting. One that runs does so to its end, as a single task does."""
        self.revoked.update(ids)
        for member in ids:
            if (running := self._running.get(member)) is not None:
                running.cancel()
        for child_id in self._children:
            self._tell(child_id, select_below(ids, child_id))

    def _tell(self, child_id: str, revoked: Sequence[str]) -> None:
        async def tell() -> None:
            with contextlib.suppress(FailureError):  # it has ended meanwhile
                await self._children[child_id].signal(wire.REVOKE, list(revoked))

        if revoked:
            self._aside(tell())

    def _before(self) -> Value:
        return None if self.tree.before is None else unflattened(self.tree.before, self.tree.payloads)

    def _members_of_bundle(self) -> Sequence[Node]:
        assert isinstance(self.tree.root, GroupNode)
        return self.tree.root.members

    # --- nodes -----------------------------------------------------------------------------------

    async def _node(self, node: Node, before: Value, place: str, follows: Sequence[Any] = ()) -> Value:
        """:param follows: what is run with its result, as the result of the task that ends it counts its children."""
        if not self._is_here(node):
            return await self._as_child(self._part(node, follows), node.id, before)
        if isinstance(node, TaskNode):
            return await self._task(node, before, place, follows)
        if isinstance(node, ChainNode):
            return await self._chain(node, before, place, follows)
        if isinstance(node, ChordNode):
            return await self._chord(node, before, place, follows)
        return await self._group(node, before, place)

    async def _task(self, node: TaskNode, before: Value, place: str, follows: Sequence[Any]) -> Value:
        try:
            value = await self._member(node, before, place, follows)
        except MemberFailed as failed:
            self._call_errbacks(node.errbacks, failed)
            raise
        self._call_later(node.links, value)
        return value

    async def _chain(self, node: ChainNode, before: Value, place: str, follows: Sequence[Any]) -> Value:
        value = before
        number, of = self.tree.above.first, max(self.tree.above.of, len(node.steps))
        rest = node.steps
        for steps in self._cut(node.steps):
            rest = rest[len(steps) :]
            after = [rest[0].first_result()] if rest else follows
            try:
                if self._is_below(steps[0]):
                    value = await self._steps_below(steps, value, after, number, of)
                else:
                    value = await self._node(steps[0], value, f"{place}{number + 1}/{of} ", after)
            except MemberFailed as failed:
                await self._never_run(rest, failed)
                raise
            number += len(steps)
        return value

    async def _steps_below(
        self, steps: Sequence[Node], before: Value, follows: Sequence[Any], first: int, of: int
    ) -> Value:
        """A lot of a long chain's steps, which are a workflow."""
        container = workflow_of(steps[0].id)
        at_once = min(max(step.width for step in steps), max(1, self.tree.at_once // BATCHES_AT_ONCE))
        async with self._slots.taken(at_once):
            tree = self._part(ChainNode(container, tuple(steps)), follows, at_once=at_once, first=first, of=of)
            return await self._as_child(tree, container, before)

    def _part(self, node: Node, follows: Sequence[Any] = (), at_once: int = 0, **above: Any) -> Tree:
        """A tree for a workflow under this one."""
        told = Above(tuple(follows), later=self._follows, **above)
        return Tree(node, at_once or self.tree.at_once, keeps=True, above=told, limit=self.tree.limit)

    async def _group(self, node: GroupNode, before: Value, place: str) -> list[Value]:
        try:
            is_batch = node is self.tree.root and self.tree.keeps
            values = await self._members(node.members, before, place, chord=ORPHANS if is_batch else None)
        except MemberFailed as failed:
            self._call_errbacks(node.errbacks, failed)
            raise
        self._call_later(node.links, values)
        return values

    async def _chord(self, node: ChordNode, before: Value, place: str, follows: Sequence[Any]) -> Value:
        try:
            values = await self._members(node.header, before, place, chord=node.id)
        except MemberFailed as failed:
            told = chord_failure(node, failed)
            # The members of a body that is a group fail of the error itself: Celery's rule.
            reason = failed.reason if isinstance(node.body, GroupNode) else told.reason
            await self._never_run([node.body], MemberFailed(told.message, reason))
            for errback, about in zip(node.errbacks, node.told or itertools.repeat(node.id), strict=False):
                if call_of(errback) not in failed.heard:
                    alike = MemberFailed(replace(told.message, id=about), reason)
                    alike.given = told.given
                    self._call_errbacks([errback], alike)
            told.heard = failed.heard | {call_of(errback) for errback in node.errbacks}
            raise told from failed
        return await self._node(node.body, values, f"{place}body ", follows)

    async def _members(self, nodes: Sequence[Node], before: Value, place: str, chord: str | None = None) -> list[Value]:
        """The values of all, in order. All of them end; then the first that failed is raised."""
        added = self._added.setdefault(chord, []) if chord is not None else []
        units = list(self._cut(nodes))
        running: list[asyncio.Task[list[Value]]] = []
        number, of = 0, len(nodes)
        if self.tree.above.of and place == "":  # the lot of a larger group
            number, of = self.tree.above.first, self.tree.above.of
        results = Room(self.tree.limit if self.tree.above.room is None else self.tree.above.room)
        for unit in units:
            if self._is_below(unit[0]):
                lot = self._lot(unit, before, number, of, results if chord is not None else None)
                running.append(asyncio.create_task(lot))
            else:
                running.append(asyncio.create_task(self._one(unit[0], before, f"{place}{number + 1}/{of} ")))
            number += len(unit)
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

    async def _lot(
        self, nodes: Sequence[Node], before: Value, first: int, of: int, results: Room | None
    ) -> list[Value]:
        """A lot of a large group's members, which are a workflow. Without `results`, theirs are of no use here."""
        container = workflow_of(nodes[0].id)
        group = GroupNode(container, tuple(nodes))
        async with self._batches:
            if not workflow.patched(SHARED_SLOTS):
                old = Tree(group, self.tree.at_once, keeps=results is not None)
                found: list[Value] = await self._as_child(old, container, before)
                return found
            at_once = min(group.width, max(1, self.tree.at_once // BATCHES_AT_ONCE))
            async with self._slots.taken(at_once):
                room = None if results is None else results.left
                part = self._part(group, at_once=at_once, first=first, of=of, room=room)
                part = replace(part, keeps=results is not None)
                found = await self._as_child(part, container, before)
        if results is not None:
            results.left = max(0, results.left - measured(found)[1])
        return found

    def _cut(self, nodes: Sequence[Node]) -> Iterator[list[Node]]:
        """The nodes one by one, save that those of a batch stay together."""
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

    def _is_here(self, node: Node) -> bool:
        """Whether this workflow runs it itself: its id says so."""
        own = node.id
        return self.id in (own, workflow_of(own)) or (self.tree.bundle and self.id == bundle_of(own))

    def _is_below(self, node: Node) -> bool:
        """Whether it is in a workflow under this one, of a lot of members or steps."""
        return is_below(workflow_of(node.id), self.id)

    # --- members ---------------------------------------------------------------------------------

    async def _member(self, node: TaskNode, before: Value, place: str, follows: Sequence[Any]) -> Value:
        message = node.message
        payloads: list[Payload] = []
        children = [*(link.first_result() for link in node.links), *follows]
        if children:
            message = message.copy(follows=children)
        if self._follows and message.expires_in is not None:  # Celery publishes it now
            message = message.copy(expires=workflow.now() - self._ahead + timedelta(seconds=message.expires_in))
        if node.takes and before is not None:
            self._refuse_too_large(message, before)
            message = message.copy(joins=flattened(before, payloads))
        if node.links or node.errbacks:
            linked = Tree(GroupNode(message.id, (), node.links, node.errbacks)).encode()
            if total_size(linked) <= SHOWN_LIMIT:
                message = message.copy(linked=len(payloads))
                payloads += linked
        replacement: Replaced | None = None
        waits_outside = self._pause_before(message) > 0 and workflow.patched(WAITS_OUTSIDE)
        if waits_outside:  # before it has a place: others would wait with it, and their own time begin after its
            await self._wait_for_its_time(message)
        async with self._slots.taken():
            try:
                if not waits_outside:
                    await self._wait_for_its_time(message)
                value = await self._activity(message, payloads, place)
            except MemberFailed:
                raise
            except Replaced as replaced:
                replacement = replaced
            except FailureError as reason:
                if workflow.cancellation_reason() is not None:
                    raise
                raise self._failed(message, reason, payloads) from reason
        if replacement is not None:  # its tasks need the place that the run had
            self._follows = True
            return await self._node(Tree.decode(replacement.payloads).root, None, place, children)
        self._follows = True
        if wire.ENDED_AS in value.metadata:
            raise MemberFailed(message, ended_without_result(message, value))
        for tree in added_with(value):
            chord = message.chord if message.chord in self._added else ORPHANS
            self._added.setdefault(str(chord), []).append(tree.root)
        return value

    def _refuse_too_large(self, message: Message, before: Value) -> None:
        count, size, gone = measured(before)
        own = total_size(message.encode())
        if gone or own + size > self.tree.limit:
            raise self._too_large(
                message,
                f"what comes before it, {count:,} results of {size:,} bytes together, and its own arguments are more "
                f"than the {self.tree.limit:,} bytes that a task can be given (ptemporal.payload_limit)",
            )

    def _too_large(self, message: Message, reason: str) -> MemberFailed:
        text = f"task {message.task!r}: {reason}: have the tasks store what they make, and return where it is"
        told = error_of(PayloadTooLarge(text))
        failure = ApplicationError(text, wire.plain(told), type=PayloadTooLarge.__name__, non_retryable=True)
        self._note(message.id, failure)
        return MemberFailed(message, failure)

    def _pause_before(self, message: Message) -> float:
        """Seconds until its time has come."""
        if self._follows and message.countdown is not None:
            return message.countdown
        if message.eta is not None and (self._follows or message.id != self.id):
            return (message.eta - workflow.now()).total_seconds()
        return 0.0

    async def _wait_for_its_time(self, message: Message) -> None:
        if (pause := self._pause_before(message)) > 0:
            await asyncio.sleep(pause)

    async def _activity(self, message: Message, before: Sequence[Payload], place: str) -> Payload:
        if workflow.cancellation_reason() is not None:  # what ran then has run to its end; what follows does not start
            raise CancelledError("revoked")
        if message.id in self.revoked:
            raise revoked()
        if message.id in self._running:  # the server would refuse a second activity of this id, again and again
            text = f"two tasks have the id {message.id!r}"
            raise ApplicationError(text, type=InvalidTaskError.__name__, non_retryable=True)
        size = total_size([*message.encode(), *before])
        if history_is_full(size + self._largest * (len(self._running) + 1)):
            raise self._too_large(
                message,
                "what the tasks of its workflow are given and return fills the history that a workflow may have: make "
                "ptemporal.canvas_batch smaller, so that there are more workflows, or else",
            )
        await self._answers.room_for(size)
        own = asyncio.create_task(run_message(message, self._ahead, before, message.id, place))
        self._running[message.id] = own
        try:
            result = await own
            self._largest = max(self._largest, total_size([result]))
            return result
        except (CancelledError, asyncio.CancelledError):
            if workflow.cancellation_reason() is None:
                raise revoked() from None
            raise
        finally:
            del self._running[message.id]

    def _failed(self, message: Message, reason: BaseException, before: Sequence[Payload]) -> MemberFailed:
        if not isinstance(reason, ApplicationError) or not reason.details or reason.type == wire.REVOKED:
            self._note(message.id, reason)
        failed = MemberFailed(message, reason)
        if not isinstance(message.joins, dict):  # an error, that error callbacks of error callbacks hear of
            failed.given = (message.body, *before[: message.linked])
        return failed

    def _note(self, member: str, reason: BaseException, brief: bool = False) -> None:
        """Write down how a member has ended, for who reads its state; briefly, where several end so."""
        state, error = how_it_failed(reason)
        plain = wire.plain(error)
        if brief and len(json.dumps(plain)) > NOTE_LIMIT:
            text = str(plain.get("text"))[:TEXT_LIMIT]
            named = {name: str(plain.get(name))[:TEXT_LIMIT] for name in ("module", "type")}
            plain = {**named, "text": text, "args": [{"value": text}], "traceback": None}
        workflow.upsert_memo({f"{wire.ENDED}{member}": {"state": state, "error": plain}})

    async def _never_run(self, nodes: Sequence[Node], failed: MemberFailed) -> None:
        """What would have come next fails of the same."""
        alike: dict[str, None] = {}
        for node in nodes:
            ids = dict.fromkeys([node.id, *(leaf.message.id for leaf in node.leaves())])
            if self._is_below(node):
                alike[prefix_of(workflow_of(node.id))] = None
            elif not self._is_here(node):
                # Its own workflow has to say so: who has its id asks there.
                state, error = how_it_failed(failed.reason)
                await self._start_failed(node, state, error)
            elif len(ids) + len(nodes) > FEW and workflow.patched(NOTED_ALIKE):
                alike |= dict.fromkeys(self._noted_as(member) for member in ids)
            else:
                for member in ids:
                    self._note(member, failed.reason, brief=True)
        if alike:
            state, error = how_it_failed(failed.reason)
            noted = {"of": list(alike), "state": state, "error": wire.plain(error)}
            workflow.upsert_memo({f"{wire.ENDED_ALIKE}{next(iter(alike))}": noted})

    def _noted_as(self, member: str) -> str:
        """The member, or all those of the workflow under this one that it is in."""
        container = workflow_of(member)
        return prefix_of(container) if is_below(container, self.id) else member

    # --- what follows ----------------------------------------------------------------------------

    def _call_later(self, nodes: Sequence[Node], before: Value, place: str = "link ") -> None:
        for node in nodes:
            self._aside(self._quietly(node, before, place))

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        """The workflow does not end before this has."""
        task = asyncio.create_task(work)
        self._later[task] = None
        task.add_done_callback(self._later.pop)

    def _call_errbacks(self, nodes: Sequence[Node], failed: MemberFailed) -> None:
        if not nodes or isinstance(failed.reason, Halted):
            return
        state, error = how_it_failed(failed.reason)
        if state == states.REVOKED:
            return
        given = failed.given
        too_large = total_size(given) > GIVEN_LIMIT or history_is_full(HISTORY_ROOM // 2)
        if too_large or not workflow.patched(ERRBACKS_SEE_ARGUMENTS):
            given = ()
        self._call_later(nodes, Error(failed.message, wire.plain(error), given), "errback ")

    async def _quietly(self, node: Node, before: Value, place: str) -> None:
        """What is linked, or bundled, has a result of its own, and does not change that of another."""
        with contextlib.suppress(MemberFailed):
            await self._node(node, before, place)

    # --- child workflows -------------------------------------------------------------------------

    async def _as_child(self, tree: Tree, child_id: str, before: Value) -> Value:
        payloads: list[Payload] = []
        if before is not None and tree.root.takes:
            self._refuse_too_large(replace(tree.root.result_message, id=child_id), before)
            structure = flattened(before, payloads)
            tree = replace(tree, before=structure, payloads=tuple(payloads))
        tree = replace(tree, above=replace(tree.above, revoked=tuple(select_below(sorted(self.revoked), child_id))))
        encoded = tree.encode()
        if (size := total_size(encoded)) > self.tree.limit:
            raise self._too_large(
                replace(tree.root.result_message, id=child_id),
                f"{size:,} bytes can't be handed to the workflow {child_id}",
            )
        await self._answers.room_for(size)
        try:
            result = from_raw(await self._child(tree, child_id, encoded))
        except ChildWorkflowError as error:
            if workflow.cancellation_reason() is not None:
                raise
            failed = MemberFailed(tree.root.result_message, error.cause or error)
            failed.dependency = dependency_of(error.cause) or failed.dependency
            raise failed from error
        if wire.VALUES not in result.metadata:
            return result
        return read_values(result)

    async def _start_failed(self, node: Node, state: str, error: Any) -> None:
        payload = Payload(
            {"encoding": b"json/plain"}, json.dumps({"state": state, "error": wire.plain(error)}).encode()
        )
        plan = Tree(node, before={"failed": 0}, payloads=(payload,))
        with contextlib.suppress(ChildWorkflowError):  # as it should
            await self._child(plan, node.id, plan.encode())

    async def _child(self, tree: Tree, child_id: str, payloads: Sequence[Payload]) -> RawValue:
        handle = await workflow.start_child_workflow(
            tree.task,
            args=[to_raw(payload) for payload in payloads],
            id=child_id,
            result_type=RawValue,
            memo=wire.memo_of(tree),
            static_summary=tree.summary[: wire.SUMMARY_LIMIT],
        )
        self._children[child_id] = handle
        try:
            self._tell(
                child_id, [id for id in select_below(sorted(self.revoked), child_id) if id not in tree.above.revoked]
            )
            found: RawValue = await handle
        finally:
            del self._children[child_id]
        return found


class Room:
    """How many bytes of results there is still use for."""

    def __init__(self, left: int) -> None:
        self.left = left


async def together(tasks: Sequence[asyncio.Task[Any]], all_of: Sequence[asyncio.Task[Any]] | None = None) -> None:
    """Wait until `tasks` have ended. When the workflow is cancelled all of them are, and have their say first."""
    try:
        await workflow.wait(tasks)
    except asyncio.CancelledError:
        for task in all_of or tasks:
            task.cancel()
        await workflow.wait(list(all_of or tasks))
        raise
