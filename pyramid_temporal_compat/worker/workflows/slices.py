"""Runs members of a workflow in slices: an activity takes several of them, and a worker runs one after the other.

`tree_members` hands over a member that is ready. `Slices` waits for the end of the current step of the workflow, so
that all members that became ready with it are there. Then `slice_plan` says which members share an activity. A member
that the plan leaves alone goes back to `tree_members`, which runs it as an activity of its own.

What makes this safe:

- A slice has one attempt. If its worker is lost, the members whose ends are not known get an activity each. This
  activity counts the lost attempt, as if it had been its own. So nothing that a slice has given back or lost can
  run there again.
- A member counts as ended once, with the first report that names it. The same report may come twice, as a signal and as
  a result.
- A member that is a step of a chain can have the next steps behind it in the slice. When the workflow comes to such a
  step, the step may have ended already: `run` then returns its outcome. The worker begins a step only after a heartbeat
  has told the server how the step before it ended. If the worker is lost, its last heartbeat says which steps ran.
- An attempt that does not end the member (a retry, a rate limit, a lost process) becomes the first attempt of the
  member's own activity. The worker that takes this activity only tells the server how the attempt ended, so the server
  counts, waits and shows the state as for any task (`worker/steps/slice_attempt.py`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Container, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError

from ...exceptions import InvalidTaskError
from ...message import wire_names as wire
from ...message.activity_options import activity_options
from ...message.message import Message, total_size
from ...message.slices import SMALL, AttemptRecord, MemberOutcome, Slice, SliceMember, SliceReport, recorded_ends
from ...payload import Payload
from ...payload.converter import from_raw
from ...payload.headers import to_arguments
from .canvas_limits import CommandBudget, FairSemaphore
from .slice_plan import RunTimes, has_room, plan
from .tree_children import Background

LOST = AttemptRecord("the worker that ran the slice was lost", wire.WORKER_LOST, final=False, delay=0.0)

NOT_MEASURED = ""
"""Stands for the task of a member whose time nobody has measured."""


NextStep = tuple[Message, Sequence[Payload], bool]
"""The next step of a chain: its message, the payloads after the body, and whether it takes the result before it."""


class RunsAlone(Exception):
    """The member is to run in an activity of its own."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.id)
        self.message = message


@dataclass(eq=False)
class Waiting:
    """A member that is ready, or in a slice."""

    message: Message
    payloads: Sequence[Payload]
    size: int
    ended: asyncio.Future[MemberOutcome | None]
    """The member's outcome; None if the member is to run alone."""
    before: Waiting | None = None
    """The step before it, if that is in the same slice."""
    takes: bool = False
    """Whether it takes the result of that step."""
    behind: Sequence[Waiting] = ()
    """The next steps of its chain, for the same slice."""
    cancelled: bool = False
    slice: StartedSlice | None = None

    @property
    def unit(self) -> Sequence[Waiting]:
        """The member, and the steps behind it."""
        return [self, *self.behind]

    def for_slice(self) -> SliceMember:
        return SliceMember(self.message, tuple(self.payloads), self.before is not None, self.takes)


def line_of(message: Message) -> Hashable:
    """Return the values that all members of a slice share, because the server gets one of each for the activity."""
    return message.queue, message.heartbeat_timeout, message.priority, message.fairness_key, message.fairness_weight


@dataclass(eq=False)
class StartedSlice:
    """A slice whose activity has not ended."""

    members: dict[str, Waiting]
    """The members whose ends are not known, by their ids."""
    handle: workflow.ActivityHandle[Any] | None = None
    rest: tuple[str, str] | None = None
    """The id and the task of the member to which the activity belongs, if a report has said so."""
    progressed: bool = False
    """Whether a member was begun."""

    def not_begun(self) -> list[str]:
        """Return the steps that can't have begun, because no end of the step before them is known."""
        return [id for id, step in self.members.items() if step.before and step.before.message.id in self.members]


@dataclass(eq=False)
class Slices:
    """The slices of one workflow. Belongs to its event loop."""

    seconds: float
    """How long the members of a slice should take together; 0 if there are no slices."""
    places: FairSemaphore
    """Limits how many activities run at a time."""
    background: Background
    commands: CommandBudget
    refused: Container[str] = ()
    """Ids of revoked members, which must not start."""
    beside: int = 1
    """How many workflows make slices at the same time: the parts of a large group."""
    fits: Callable[[int, int], bool] = lambda size, count: True
    """Tells whether the history has room for members of this size and number, and for their results."""
    members_started: int = 0
    """Members in the slices that have started and not ended."""
    _started: dict[str, StartedSlice] = field(default_factory=dict)
    _ahead: dict[str, Waiting] = field(default_factory=dict)
    """Steps that are in a slice, or have ended there, and that the workflow has not come to."""
    _unwanted: bool = False
    """Whether a worker has taken a slice and begun no member. A worker with `lost_worker_attempts` = 1 does this."""
    _ready: list[Waiting] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self._times = RunTimes(self.seconds)

    def take(self, message: Message, size: int) -> bool:
        """Return whether the member can be in a slice: it is small, and needs nothing of its own."""
        wanted = bool(self.seconds) and not self._unwanted
        return wanted and size <= SMALL and message.expires is None and not message.at_most_once

    def take_behind(self, message: Message, size: int) -> bool:
        """Return whether the member can be in the slice of the step before it: it has no pause or time of its own."""
        at_once = message.countdown is None and message.eta is None and message.expires_in is None
        return at_once and self.take(message, size)

    def runs(self, member_id: str) -> bool:
        """Return whether the member is a step that is in a slice already, or has ended there."""
        return member_id in self._ahead

    def cancel(self, ids: Sequence[str]) -> None:
        """Keep the steps with these ids from beginning in a slice. A step that has begun goes on."""
        for member in [self._ahead[id] for id in ids if id in self._ahead]:
            if member.slice is not None and member.slice.handle is not None:
                member.slice.handle.cancel()

    async def run(
        self, message: Message, payloads: Sequence[Payload], size: int, then: Iterable[NextStep] = ()
    ) -> Payload:
        """Return the member's result.

        Raises `ActivityError` as the member's own activity would, or `RunsAlone` if it is to have one.

        :param then: the next steps of the member's chain.
        """
        member = self._ahead.pop(message.id, None)
        if member is None:
            member = Waiting(message, payloads, size, new_future())
            member.behind = self._behind(member, then)
            self._add([member])
        else:  # as it is now, with the result of the step before it
            member.message, member.payloads, member.size = message, payloads, size
        while not member.ended.done():
            try:
                await workflow.wait([member.ended])
            except asyncio.CancelledError:
                member.cancelled = True
                if member.slice is None:
                    raise
                assert member.slice.handle is not None
                member.slice.handle.cancel()  # a worker that has it begins no more members of it
        outcome = member.ended.result()
        if outcome is None:
            raise RunsAlone(message)
        if outcome.record is not None and outcome.goes_on:
            raise RunsAlone(message.copy(attempted=outcome.record.written()))
        if outcome.record is not None:
            raise ActivityEnded() from outcome.record.error()
        assert outcome.result is not None
        return outcome.result

    def reported(self, report: SliceReport) -> None:
        """Take over a report that came before its slice has ended."""
        if (started := self._started.get(report.slice_id)) is not None:
            started.rest = report.rest
            if report.rest is not None:  # it has taken at least what the others have left of the slice's time
                spent = sum(outcome.seconds for outcome in report.outcomes)
                self._times.add(report.rest[1], max(0.0, self.seconds - spent))
            self._settle(started, report)

    # --- members that are ready ------------------------------------------------------------------

    def _behind(self, first: Waiting, then: Iterable[NextStep]) -> Sequence[Waiting]:
        """Return the next steps of a chain that can be in the slice of the first one."""
        found: list[Waiting] = []
        seconds, size = self._times.expected(first.message.task), first.size
        for message, payloads, takes in then:
            rough = message.rough_size + total_size(payloads)
            seconds, size = seconds + self._times.expected(message.task), size + rough
            is_like = self.take_behind(message, rough) and line_of(message) == line_of(first.message)
            if not is_like or not has_room(seconds, size, len(found) + 1, self.seconds):
                break
            before = found[-1] if found else first
            found.append(Waiting(message, payloads, rough, new_future(), before, takes))
        return found

    def _add(self, members: Sequence[Waiting]) -> None:
        if not self._ready:
            self.background.start(self._distribute())
        self._ready += members

    async def _distribute(self) -> None:
        """Put the members that are ready into slices, once no more members become ready in this step."""
        known = 0
        while known != len(self._ready):
            known = len(self._ready)
            await asyncio.sleep(0)
        ready, self._ready = self._ready, []
        lines: dict[Hashable, list[Waiting]] = {}
        for member in ready:
            if not member.cancelled:
                lines.setdefault(line_of(member.message), []).append(member)
        for members in lines.values():
            units = [[(member.message.task, member.size) for member in first.unit] for first in members]
            for places in plan(units, self._times, self.beside):
                part = [members[place] for place in places]
                if len(part) == 1 and not part[0].behind:
                    leave_alone(part)
                else:
                    self.background.start(self._run_slice(part))

    async def _run_slice(self, firsts: Sequence[Waiting]) -> None:
        """Run a slice of some members, with the steps behind them."""
        async with self.places.taken():
            await self.commands.room_for(sum(member.size for first in firsts for member in first.unit))
            firsts = [member for member in firsts if not member.cancelled]
            for first in firsts:
                first.behind = self._until_revoked(first.behind)
            members = [member for first in firsts for member in first.unit]
            if len(members) < 2 or not self.fits(sum(member.size for member in members), len(members)):
                leave_alone(firsts)
                return
            self._count += 1
            slice_id = f"{wire.SLICE}:{self._count}"
            started = self._started[slice_id] = StartedSlice({member.message.id: member for member in members})
            self.members_started += len(members)
            try:
                started.handle = self._start(slice_id, firsts)
                for member in members:
                    member.slice = started
                self._ahead |= {step.message.id: step for first in firsts for step in first.behind}
                await self._end(started)
            except Exception as error:  # fails the workflow task, which the server repeats
                for member in started.members.values():
                    member.ended.set_exception(error)
            finally:
                self.members_started -= len(members)
                del self._started[slice_id]

    def _until_revoked(self, steps: Sequence[Waiting]) -> Sequence[Waiting]:
        """Return the steps before the first one that was revoked meanwhile."""
        return list(itertools.takewhile(lambda step: step.message.id not in self.refused, steps))

    def _start(self, slice_id: str, firsts: Sequence[Waiting]) -> workflow.ActivityHandle[Any]:
        members = [member.for_slice() for first in firsts for member in first.unit]
        part = Slice(self.seconds, tuple(members))
        return workflow.start_activity(
            wire.SLICE,
            args=to_arguments(part.encode()),
            activity_id=slice_id,
            result_type=RawValue,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=part.summary[: wire.SUMMARY_LIMIT],
            **{**activity_options(firsts[0].message), "retry_policy": RetryPolicy(maximum_attempts=1)},
        )

    # --- what a slice has done -------------------------------------------------------------------

    async def _end(self, started: StartedSlice) -> None:
        """Wait for the end of a slice, and tell each member how it ended."""
        assert started.handle is not None
        try:
            result = from_raw(await started.handle)
            report = SliceReport.decode(result) if wire.SLICE in result.metadata else rest_ended(started, result)
            self._unwanted |= not report.outcomes and not started.progressed
        except ActivityError as error:
            report = after_failure(started, error)
        except InvalidTaskError:
            report = SliceReport()
        self._settle(started, report)
        # The worker tells of every member. So it was lost, or it has lost the last one.
        self._settle(started, SliceReport(given_back=tuple(started.not_begun())))
        lost = tuple(MemberOutcome(member, NOT_MEASURED, 0.0, record=LOST) for member in started.members)
        self._settle(started, SliceReport(lost))

    def _settle(self, started: StartedSlice, report: SliceReport) -> None:
        """Tell the members of a slice what a report says of them."""
        for outcome in report.outcomes:
            member = started.members.pop(outcome.id, None)
            if member is None:
                continue  # an earlier report has told
            started.progressed = True
            if outcome.task is not NOT_MEASURED:
                self._times.add(outcome.task, self.seconds if outcome.goes_on else outcome.seconds)
            member.ended.set_result(outcome)
        self._take_back(
            [member for id in report.given_back if (member := started.members.pop(id, None)) is not None],
            again=started.progressed or started.rest is not None,
        )

    def _take_back(self, members: Sequence[Waiting], again: bool) -> None:
        """Take back members that were not begun.

        :param again: whether they may be in another slice. A slice in which no member ran would end in the same way.
        """
        for member in members:
            member.slice = None
            if member.cancelled:
                member.ended.cancel()
        # A step that the workflow has not come to is in another slice later.
        asked = [member for member in members if self._ahead.pop(member.message.id, None) is None]
        left = [member for member in asked if not member.cancelled]
        if again and left:
            self._add(left)
        else:
            leave_alone(left)


def new_future() -> asyncio.Future[MemberOutcome | None]:
    return asyncio.get_running_loop().create_future()


def leave_alone(members: Sequence[Waiting]) -> None:
    for member in members:
        if not member.ended.done():
            member.ended.set_result(None)


def rest_ended(started: StartedSlice, result: Payload) -> SliceReport:
    """Return the report for the result of the member to which the activity belonged."""
    if started.rest is None:
        return SliceReport()
    return SliceReport((MemberOutcome(started.rest[0], NOT_MEASURED, 0.0, result),))


def after_failure(started: StartedSlice, error: ActivityError) -> SliceReport:
    """Return the report for a slice that has failed: it was lost, or it was not run, or its last member has failed."""
    cause = error.cause
    if isinstance(cause, TimeoutError) and (ends := recorded_ends(cause.last_heartbeat_details)) is not None:
        return ends
    if started.rest is None:
        # Cancelled before it started, or taken by a worker of a release without slices. Else it was lost.
        not_begun = isinstance(cause, CancelledError) or (
            isinstance(cause, ApplicationError) and cause.type == "NotFoundError"
        )
        return SliceReport(given_back=tuple(started.members) if not_begun else ())
    if not isinstance(cause, ApplicationError):
        return SliceReport()
    record = AttemptRecord(cause.message, str(cause.type), tuple(cause.details), cause.non_retryable)
    return SliceReport((MemberOutcome(started.rest[0], NOT_MEASURED, 0.0, record=record),))


class ActivityEnded(ActivityError):
    """The error with which the member's own activity would have failed. Its cause says how."""

    def __init__(self) -> None:
        super().__init__(
            "a member of a slice has ended",
            scheduled_event_id=0,
            started_event_id=0,
            identity="",
            activity_type="",
            activity_id="",
            retry_state=None,
        )
