"""Runs a tree within its workflow: chains one step after the other, groups side by side, chords, links, errbacks.

A member is an activity whose id is the member's id. What lies in another workflow, as its id says, is run by a child
workflow: the batches of a large group, and what had its id before the tree was made. Results pass through as they
came; what reads a member's state is the history, and for an end that no activity tells, the workflow's memo.

Like all workflow code this is replayed: a change that alters the commands needs `workflow.patched`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, CancelledError, ChildWorkflowError, FailureError

from .. import states
from ..bundle import bundle_of
from ..exceptions import ChordError
from ..message import Message
from ..payload import Payload
from ..payload.converter import from_raw, to_raw
from ..payload.errors import from_wire
from ..payload.types import loads
from ..tree import Chain, Chord, Group, Node, Task, Tree, id_of, leaves, written_result
from . import wire
from .failures import error_of, how_it_failed
from .run import SUMMARY_LIMIT, Replaced, run_message

Value = Any
"""What came of a node: a `Payload`, or a list of such values."""
ORPHANS = ""
"""Stands for a chord whose header is run here, and the chord itself by the workflow above."""
BATCHES_AT_ONCE = 4
"""Child workflows of a large group that run at a time; each has its own tasks under way."""


@dataclass(frozen=True)
class Error:
    """What errbacks are called with: the failed task's message, and its error as `payload.errors` writes it."""

    message: Message
    error: dict[str, Any]


class MemberFailed(Exception):
    """A member has ended without a result."""

    def __init__(self, message: Message, reason: BaseException) -> None:
        super().__init__(message.id)
        self.message = message
        self.reason = reason
        self.heard: frozenset[tuple[str, bytes]] = frozenset()
        """The error callbacks that chords have called for it: a chord around these does not call them again."""


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
        self._follows = nested
        self._running: dict[str, asyncio.Task[Payload]] = {}
        self._later: dict[asyncio.Task[None], None] = {}  # in order: what waits for them must be deterministic
        self._added: dict[str, list[Node]] = {}
        self._slots = asyncio.Semaphore(tree.at_once)
        self._batches = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def run(self) -> Value:
        """The root's value. Ends when all that is linked has ended too; fails as the root fails."""
        failed: MemberFailed | None = None
        value: Value = None
        try:
            if self.tree.bundle:
                self._call_later(self._members_of_bundle(), None, "")
            else:
                value = await self._node(self.tree.root, self._before(), "")
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

    def _before(self) -> Value:
        return None if self.tree.before is None else _unflattened(self.tree.before, self.tree.payloads)

    def _members_of_bundle(self) -> Sequence[Node]:
        assert isinstance(self.tree.root, Group)
        return self.tree.root.members

    # --- nodes -----------------------------------------------------------------------------------

    async def _node(self, node: Node, before: Value, place: str) -> Value:
        if not self._is_here(node):
            return await self._as_child(Tree(node, self.tree.at_once, keeps=True), id_of(node), before)
        if isinstance(node, Task):
            return await self._task(node, before, place)
        if isinstance(node, Chain):
            return await self._chain(node, before, place)
        if isinstance(node, Chord):
            return await self._chord(node, before, place)
        return await self._group(node, before, place)

    async def _task(self, node: Task, before: Value, place: str, follows: Sequence[Any] = ()) -> Value:
        try:
            value = await self._member(node, before, place, follows)
        except MemberFailed as failed:
            self._call_errbacks(node.errbacks, failed)
            raise
        self._call_later(node.links, value)
        return value

    async def _chain(self, node: Chain, before: Value, place: str) -> Value:
        value = before
        for number, step in enumerate(node.steps):
            rest = node.steps[number + 1 :]
            inner = f"{place}{number + 1}/{len(node.steps)} "
            try:
                if isinstance(step, Task) and self._is_here(step):
                    value = await self._task(step, value, inner, [written_result(rest[0])] if rest else ())
                else:
                    value = await self._node(step, value, inner)
            except MemberFailed as failed:
                for later in rest:
                    await self._never_run(later, failed)
                raise
        return value

    async def _group(self, node: Group, before: Value, place: str) -> list[Value]:
        try:
            is_batch = node is self.tree.root and self.tree.keeps
            values = await self._members(node.members, before, place, chord=ORPHANS if is_batch else None)
        except MemberFailed as failed:
            self._call_errbacks(node.errbacks, failed)
            raise
        self._call_later(node.links, values)
        return values

    async def _chord(self, node: Chord, before: Value, place: str) -> Value:
        try:
            values = await self._members(node.header, before, place, chord=node.id)
        except MemberFailed as failed:
            told = chord_failure(node, failed)
            await self._never_run(node.body, told)
            self._call_errbacks([errback for errback in node.errbacks if _call(errback) not in failed.heard], told)
            told.heard = failed.heard | {_call(errback) for errback in node.errbacks}
            raise told from failed
        return await self._node(node.body, values, f"{place}body ")

    async def _members(self, nodes: Sequence[Node], before: Value, place: str, chord: str | None = None) -> list[Value]:
        """The values of all, in order. All of them end; then the first that failed is raised."""
        added = self._added.setdefault(chord, []) if chord is not None else []
        units = list(self._cut(nodes))
        running: list[asyncio.Task[list[Value]]] = []
        number = 0
        for unit in units:
            inner = f"{place}{number + 1}/{len(nodes)} " if len(unit) == 1 else place
            running.append(asyncio.create_task(self._unit(unit, before, inner, wants=chord is not None)))
            number += len(unit)
        ended: list[asyncio.Task[list[Value]]] = []
        while running or added:
            while added:
                running.append(asyncio.create_task(self._unit([added.pop(0)], None, place, wants=True)))
            await together(running[:1], running)
            ended.append(running.pop(0))
        values: list[Value] = []
        for task in ended:
            values += task.result()
        return values

    async def _unit(self, nodes: Sequence[Node], before: Value, place: str, wants: bool) -> list[Value]:
        container = _container(id_of(nodes[0]))
        if container == self.id or not container.startswith(f"{self.id}/"):
            return [await self._node(nodes[0], before, place)]
        async with self._batches:
            tree = Tree(Group(container, tuple(nodes)), self.tree.at_once, keeps=wants)
            found: list[Value] = await self._as_child(tree, container, before)
            return found

    def _cut(self, nodes: Sequence[Node]) -> Iterator[list[Node]]:
        """The nodes one by one, save that those of a batch stay together."""
        batch: list[Node] = []
        for node in nodes:
            container = _container(id_of(node))
            if batch and container != _container(id_of(batch[0])):
                yield batch
                batch = []
            if container != self.id and container.startswith(f"{self.id}/"):
                batch.append(node)
            else:
                yield [node]
        if batch:
            yield batch

    def _is_here(self, node: Node) -> bool:
        """Whether this workflow runs it itself: its id says so."""
        own = id_of(node)
        return self.id in (own, _container(own), bundle_of(own))

    # --- members ---------------------------------------------------------------------------------

    async def _member(self, node: Task, before: Value, place: str, follows: Sequence[Any]) -> Value:
        message = node.message
        payloads: list[Payload] = []
        children = [*(written_result(link) for link in node.links), *follows]
        if children:
            message = message.copy(follows=children)
        if node.takes and before is not None:
            message = message.copy(joins=_flattened(before, payloads))
        async with self._slots:
            try:
                await self._wait_for_its_time(message)
                value = await self._activity(message, payloads, place)
            except MemberFailed:
                raise
            except Replaced as replaced:
                return await self._replacement(replaced, place)
            except FailureError as reason:
                if workflow.cancellation_reason() is not None:
                    raise
                raise self._failed(message, reason) from reason
        self._follows = True
        if wire.ENDED_AS in value.metadata:
            raise MemberFailed(message, ended_without_result(message, value))
        for tree in json.loads(value.metadata.get(wire.ADDED, b"[]")):
            chord = message.chord if message.chord in self._added else ORPHANS
            self._added.setdefault(str(chord), []).append(Tree.decode(wire.read_payloads(tree)).root)
        return value

    async def _wait_for_its_time(self, message: Message) -> None:
        if self._follows:
            pause = message.countdown or 0.0
            if message.countdown is None and message.eta is not None:
                pause = (message.eta - workflow.now()).total_seconds()
        elif message.eta is not None and message.id != self.id:
            pause = (message.eta - workflow.now()).total_seconds()
        else:
            pause = 0.0
        if pause > 0:
            await asyncio.sleep(pause)

    async def _activity(self, message: Message, before: Sequence[Payload], place: str) -> Payload:
        if workflow.cancellation_reason() is not None:  # what ran then has run to its end; what follows does not start
            raise CancelledError("revoked")
        if message.id in self.revoked:
            raise revoked()
        own = asyncio.create_task(run_message(message, self._ahead, before, message.id, place))
        self._running[message.id] = own
        try:
            return await own
        except (CancelledError, asyncio.CancelledError):
            if workflow.cancellation_reason() is None:
                raise revoked() from None
            raise
        finally:
            del self._running[message.id]

    def _failed(self, message: Message, reason: BaseException) -> MemberFailed:
        if not isinstance(reason, ApplicationError) or not reason.details or reason.type == wire.REVOKED:
            self._note(message.id, reason)
        return MemberFailed(message, reason)

    async def _replacement(self, replaced: Replaced, place: str) -> Value:
        return await self._node(Tree.decode(replaced.payloads).root, None, place)

    def _note(self, member: str, reason: BaseException) -> None:
        """Write down how a member has ended, for who reads its state."""
        state, error = how_it_failed(reason)
        workflow.upsert_memo({f"{wire.ENDED}{member}": {"state": state, "error": wire.plain(error)}})

    async def _never_run(self, node: Node, failed: MemberFailed) -> None:
        """What would have come next fails of the same."""
        if not self._is_here(node):
            # Its own workflow has to say so: who has its id asks there.
            state, error = how_it_failed(failed.reason)
            await self._start_failed(node, state, error)
            return
        ids = dict.fromkeys([id_of(node), *(leaf.message.id for leaf in leaves(node))])
        for member in ids:
            self._note(member, failed.reason)

    # --- what follows ----------------------------------------------------------------------------

    def _call_later(self, nodes: Sequence[Node], before: Value, place: str = "link ") -> None:
        for node in nodes:
            task = asyncio.create_task(self._quietly(node, before, place))
            self._later[task] = None
            task.add_done_callback(self._later.pop)

    def _call_errbacks(self, nodes: Sequence[Node], failed: MemberFailed) -> None:
        if not nodes or isinstance(failed.reason, Halted):
            return
        state, error = how_it_failed(failed.reason)
        if state != states.REVOKED:
            self._call_later(nodes, Error(failed.message, wire.plain(error)))

    async def _quietly(self, node: Node, before: Value, place: str) -> None:
        """What is linked, or bundled, has a result of its own, and does not change that of another."""
        with contextlib.suppress(MemberFailed):
            await self._node(node, before, place)

    # --- child workflows -------------------------------------------------------------------------

    async def _as_child(self, tree: Tree, child_id: str, before: Value) -> Value:
        payloads: list[Payload] = []
        if before is not None:
            structure = _flattened(before, payloads)
            tree = replace(tree, before=structure, payloads=tuple(payloads))
        try:
            result = from_raw(await self._child(tree, child_id, tree.encode()))
        except ChildWorkflowError as error:
            if workflow.cancellation_reason() is not None:
                raise
            raise MemberFailed(_message_of(tree.root), error.cause or error) from error
        if wire.VALUES not in result.metadata:
            return result
        found = json.loads(result.data)
        return _unflattened(found["values"], wire.read_payloads(found["payloads"])) if found else []

    async def _start_failed(self, node: Node, state: str, error: Any) -> None:
        payload = Payload(
            {"encoding": b"json/plain"}, json.dumps({"state": state, "error": wire.plain(error)}).encode()
        )
        plan = Tree(node, before={"failed": 0}, payloads=(payload,))
        with contextlib.suppress(ChildWorkflowError):  # as it should
            await self._child(plan, id_of(node), plan.encode())

    async def _child(self, tree: Tree, child_id: str, payloads: Sequence[Payload]) -> RawValue:
        found: RawValue = await workflow.execute_child_workflow(
            tree.task,
            args=[to_raw(payload) for payload in payloads],
            id=child_id,
            result_type=RawValue,
            memo=wire.memo_of(tree),
            static_summary=tree.summary[:SUMMARY_LIMIT],
        )
        return found


async def together(tasks: Sequence[asyncio.Task[Any]], all_of: Sequence[asyncio.Task[Any]] | None = None) -> None:
    """Wait until `tasks` have ended. When the workflow is cancelled all of them are, and have their say first."""
    try:
        await workflow.wait(tasks)
    except asyncio.CancelledError:
        for task in all_of or tasks:
            task.cancel()
        await workflow.wait(list(all_of or tasks))
        raise


class Halted(ApplicationError):
    """A member ended without a result, by its own will: what would follow does not run."""


def revoked() -> ApplicationError:
    return ApplicationError("revoked", type=wire.REVOKED, non_retryable=True)


def ended_without_result(message: Message, value: Payload) -> Halted:
    state = value.metadata[wire.ENDED_AS].decode()
    return Halted(f"{message.task}[{message.id}] ended {state}", type=wire.HALTED, non_retryable=True)


def chord_failure(node: Chord, failed: MemberFailed) -> MemberFailed:
    """What the failure of a member of its header is for a chord, in Celery's words."""
    _, error = how_it_failed(failed.reason)
    raised = from_wire(loads(json.dumps(error).encode()))
    told = error_of(ChordError(f"Dependency {failed.message.id} raised {raised!r}"))
    told["traceback"] = error.get("traceback")
    reason = ApplicationError(str(told["text"]), wire.plain(told), type="ChordError", non_retryable=True)
    return MemberFailed(replace(_message_of(node.body), id=node.id), reason)


def as_workflow_failure(failed: MemberFailed) -> ApplicationError:
    """How the workflow fails: with the member's own error, and for people, which member it was."""
    reason = failed.reason
    state, error = how_it_failed(reason)
    text = f"{failed.message.task}[{failed.message.id}]: {error.get('text')}"
    if state == states.REVOKED:
        return ApplicationError(str(error.get("text")), type=wire.REVOKED, non_retryable=True)
    return ApplicationError(text, wire.plain(error), type=str(error.get("type")), non_retryable=True)


def written(value: Value, keeps: bool) -> Payload:
    """What the workflow gives as its result: a list of results as one, if the workflow above wants them."""
    if isinstance(value, Payload):
        return value
    payloads: list[Payload] = []
    structure = _flattened(value, payloads)
    found = {"values": structure, "payloads": wire.write_payloads(payloads)} if keeps else None
    return Payload({"encoding": b"json/plain", wire.VALUES: b"1"}, json.dumps(found).encode())


def failed_beforehand(tree: Tree) -> ApplicationError | None:
    """How a tree failed that what comes before it has failed."""
    if not isinstance(tree.before, dict) or "failed" not in tree.before:
        return None
    found = json.loads(tree.payloads[0].data)
    if found["state"] == states.REVOKED:
        return ApplicationError(str(found["error"]["text"]), type=wire.REVOKED, non_retryable=True)
    return ApplicationError(
        str(found["error"].get("text")), found["error"], type=str(found["error"].get("type")), non_retryable=True
    )


def _call(node: Node) -> tuple[str, bytes]:
    """What a callback calls, and with what."""
    message = _message_of(node)
    return message.task, message.body.data


def _container(member: str) -> str:
    """The workflow that a member's id names."""
    return member.rpartition("/")[0]


def _message_of(node: Node) -> Message:
    """The message that says most about a node: that of its result."""
    if isinstance(node, Task):
        return node.message
    if isinstance(node, Chain):
        return _message_of(node.steps[-1])
    if isinstance(node, Chord):
        return _message_of(node.body)
    found = next((leaf.message for leaf in leaves(node)), None)
    return found if found is not None else Message("celery.group", node.id, Payload({}, b""), "")


def _flattened(value: Value, payloads: list[Payload]) -> Any:
    if isinstance(value, Error):
        envelope, _ = value.message.encode()
        return {"error": value.error, "envelope": json.loads(envelope.data)}
    if isinstance(value, list):
        return [_flattened(each, payloads) for each in value]
    payloads.append(value)
    return len(payloads) - 1


def _unflattened(written: Any, payloads: Sequence[Payload]) -> Value:
    if isinstance(written, dict):
        message = Message.decode(json.dumps(written["envelope"]).encode(), Payload({}, b""))
        return Error(message, written["error"])
    if isinstance(written, list):
        return [_unflattened(each, payloads) for each in written]
    return payloads[written]
