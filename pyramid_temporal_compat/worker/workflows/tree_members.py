"""Runs the members of a tree that belong to this workflow: in slices, or as activities with the member's id."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, FailureError

from ...exceptions import InvalidTaskError
from ...message import wire_names as wire
from ...message.message import Message, total_size
from ...message.nodes import GroupNode, TaskNode
from ...message.tree import Tree
from ...payload import Payload
from .canvas_limits import CommandBudget, FairSemaphore, history_is_full
from .node_values import Given, MemberFailed, Value, ended_without_result, flattened, revoked
from .slices import NextStep, RunsAlone, Slices
from .task_run import ActivityReplaced, next_run, run_message
from .tree_notes import note, refuse_too_large, too_large

SHOWN_LIMIT = 64 * 1024
"""Bytes of the linked tasks that are sent along with a task, for it to see. They count among the bytes that its
activity may take."""


Following = tuple[TaskNode, Sequence[Any]]
"""The next step of a chain, and the tasks that run with its result."""


class Members:
    """The members that this workflow runs itself. Belongs to its workflow's event loop."""

    def __init__(
        self,
        tree: Tree,
        ahead: timedelta,
        refused: set[str],
        places: FairSemaphore,
        commands: CommandBudget,
        slices: Slices,
        *,
        something_ran: bool,
    ) -> None:
        """
        :param ahead: by how much the server's clock is ahead of the sender's.
        :param refused: ids of revoked members, which must not start; the workflow adds to this set.
        :param places: limits how many tasks run at a time.
        :param something_ran: a task ran before the tree, so a member's countdown begins when its turn comes.
        """
        self._tree = tree
        self._id = workflow.info().workflow_id
        self._ahead = ahead
        self._refused = refused
        self._places = places
        self._commands = commands
        self.slices = slices
        slices.fits = lambda size, count: not self._is_full(size, count)
        self._alone = 0
        """Members that have a place of their own."""
        self.something_ran = something_ran
        self._running: dict[str, asyncio.Task[Payload]] = {}
        self._largest = 0
        """Size in bytes of the largest result so far: later results may be as large."""

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel running members. The activity of a cancelled member still runs to its end, as a single task does."""
        for member in ids:
            if (running := self._running.get(member)) is not None:
                running.cancel()
        self.slices.cancel(ids)

    async def run(
        self,
        node: TaskNode,
        before: Value,
        place: str,
        children: Sequence[Any],
        then: Iterable[Following] = (),
    ) -> Payload:
        """Return the member's result. Raises `MemberFailed`, or `ActivityReplaced` if a tree is to take its place.

        :param before: the value of the node before the member.
        :param place: where in the tree the member stands, for the web UI.
        :param children: the tasks that run with the member's result.
        :param then: the next steps of the member's chain.
        """
        message, payloads = self._prepared(node, before, children)
        # Before it has a place: other tasks would wait with it, and their own time would begin after its time.
        await self._wait_for_its_time(message)
        try:
            steps = ((*self._prepared(step, None, children), step.takes) for step, children in then)
            value = await self._cancellable(message, payloads, place, steps)
        except MemberFailed:
            raise
        except ActivityReplaced:
            self.something_ran = True
            raise
        except FailureError as reason:
            if workflow.cancellation_reason() is not None:
                raise
            raise failure_of(message, reason, payloads) from reason
        self.something_ran = True
        if wire.ENDED_AS in value.metadata:
            raise MemberFailed(message, ended_without_result(message, value))
        return value

    def _prepared(self, node: TaskNode, before: Value, children: Sequence[Any]) -> tuple[Message, list[Payload]]:
        """Return the member's message, and the payloads that its activity gets beside it."""
        message = node.message
        payloads: list[Payload] = []
        if children:
            message = message.copy(follows=list(children))
        if self.something_ran and message.expires_in is not None:  # Celery publishes it now
            message = message.copy(expires=workflow.now() - self._ahead + timedelta(seconds=message.expires_in))
        if node.takes and before is not None:
            refuse_too_large(message, before, self._tree.limit)
            message = message.copy(joins=flattened(before, payloads))
        if node.links or node.errbacks:
            linked = Tree(GroupNode(message.id, (), node.links, node.errbacks)).encode()
            if total_size(linked) <= SHOWN_LIMIT:
                message = message.copy(linked=len(payloads))
                payloads += linked
        return message, payloads

    async def _wait_for_its_time(self, message: Message) -> None:
        """Return when the message's countdown has passed, or its eta."""
        pause = 0.0
        if self.something_ran and message.countdown is not None:
            pause = message.countdown
        elif message.eta is not None and (self.something_ran or message.id != self._id):
            pause = (message.eta - workflow.now()).total_seconds()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _cancellable(
        self, message: Message, payloads: Sequence[Payload], place: str, then: Iterable[NextStep]
    ) -> Payload:
        """Run the member as an asyncio task that `cancel` can find."""
        if message.id in self._running:  # the server would refuse a second activity of this id, again and again
            text = f"two tasks have the id {message.id!r}"
            raise ApplicationError(text, type=InvalidTaskError.__name__, non_retryable=True)
        own = asyncio.create_task(self._attempts(message, payloads, place, then))
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

    async def _attempts(
        self, message: Message, payloads: Sequence[Payload], place: str, then: Iterable[NextStep]
    ) -> Payload:
        """Run the member in a slice if it can be in one, and otherwise, or after that, in an activity of its own."""
        if not self.slices.runs(message.id):
            self._refuse_revoked(message)
        pause = 0.0
        # A rough size, because a thousand members may be ready in one step, which may take two seconds.
        rough = message.rough_size + total_size(payloads)
        if self.slices.runs(message.id) or self.slices.take(message, rough):
            try:
                return await self.slices.run(message, payloads, rough, then)
            except RunsAlone as alone:
                message = alone.message
            except ActivityError as error:
                pause, message, payloads = next_run(error, message, payloads)
        async with self._places.taken():
            self._refuse_revoked(message)
            size = total_size([*message.encode(), *payloads])
            if self._is_full(size):
                raise too_large(
                    message,
                    "what the tasks of its workflow are given and return fills the history that a workflow may have: "
                    "make ptemporal.canvas_batch smaller, so that there are more workflows, or else",
                )
            await self._commands.room_for(size)
            self._alone += 1
            try:
                return await run_message(message, self._ahead, payloads, message.id, place, pause)
            finally:
                self._alone -= 1

    def _refuse_revoked(self, message: Message) -> None:
        if workflow.cancellation_reason() is not None:  # a running task has run to its end; no other task starts
            raise CancelledError("revoked")
        if message.id in self._refused:
            raise revoked()

    def _is_full(self, size: int, count: int = 1) -> bool:
        """Return whether the history has no room for `size` more bytes, and for the results of `count` more members."""
        return history_is_full(size + self._largest * (self._alone + self.slices.members_started + count))


def failure_of(message: Message, reason: BaseException, payloads: Sequence[Payload]) -> MemberFailed:
    """Return a member's failure. Note it if the activity itself carries no error."""
    if not isinstance(reason, ApplicationError) or not reason.details or reason.type == wire.REVOKED:
        note(message.id, reason)
    failed = MemberFailed(message, reason)
    if not isinstance(message.joins, dict):  # else it is an error, which the error callbacks of error callbacks get
        failed.given = Given(message.body, tuple(payloads[: message.linked]))
    return failed
