"""A slice on the worker: one activity makes one attempt of several members, one after the other.

Each attempt is the attempt of `TaskActivity`, with all its steps. The slice is the loop around the attempts:

- It begins members until its time is over, until it is told to end, or until an attempt ends in a way that the members
  after it may share: a rate limit, a database that is away, a process that died.
- If a member runs longer than the slice may take, the others go back to the workflow at once, with the outcomes of
  the members that have ended. From then on the activity belongs to the member that runs. A large result also makes the
  others go back.
- So the server learns how a member ended within the slice's time and one call. A killed worker loses only the outcomes
  of this time.
- The next step of a chain begins after the server has the end of the step before it (`_next`). So a killed worker
  loses the outcome of at most one step of a chain.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import AsyncActivityCancelledError
from temporalio.common import RawValue

from ..client.attempt_counts import AttemptCounts
from ..client.connection import is_transient
from ..exceptions import InvalidTaskError
from ..log_lines.text_safety import one_line
from ..message import wire_names as wire
from ..message.message import Message, NewerMessage
from ..message.slices import SMALL, AttemptRecord, MemberOutcome, Slice, SliceMember, SliceReport
from ..payload import Payload
from ..payload.converter import from_raw, to_raw
from ..payload.headers import header_of_activity
from ..payload.trace_carrier import trace_carrier
from . import heartbeat
from .attempt_end import AttemptEnd
from .job import Job
from .taken_task import TakenTask, WorkerParts

log = logging.getLogger(__name__)

OWN_WISH = (wire.RETRY, wire.REJECTED, *wire.CONTINUES)
"""How an attempt ends that the task itself wants to be made again. It says nothing of the members after it."""
MOST_BYTES = 256 * 1024
"""Bytes of outcomes after which a slice ends."""
MOST_RECORDED = 16 * 1024
"""The same for a slice with steps, whose heartbeat holds the outcomes. The server has 8 MiB for the heartbeats of one
workflow, which may have 500 slices (`ptemporal.canvas_batch`). Beyond 8 MiB, it terminates the workflow."""
LAST_MEMBER = 0.05
"""Seconds that a slice whose time is over waits for its last member. If it ends, the slice needs no signal."""
REPORT_PAUSE = 0.5
"""Seconds between two attempts to send a report while the server is away."""

RECORD_TIMEOUT = timedelta(seconds=1)
"""How long the next step of a chain waits for the server to take the end of the step before it."""

Attempt = Callable[[Job], Awaitable[Any]]
Reserve = Callable[[Job], AbstractContextManager[TakenTask]]


@dataclass(frozen=True)
class Waiting:
    """A member that was not begun."""

    member: SliceMember
    reserved: ExitStack
    """Shows it among the tasks that the worker has taken."""


class SliceActivity:
    """Runs one slice. Belongs to the worker's event loop."""

    def __init__(self, worker: WorkerParts, attempt: Attempt, reserve: Reserve) -> None:
        """
        :param attempt: makes one attempt of one member.
        :param reserve: shows a member among the tasks that the worker has taken.
        """
        self._worker = worker
        self._attempt = attempt
        self._reserve = reserve
        self._waiting: deque[Waiting] = deque()
        self._not_begun: list[str] = []
        """The ids of steps that can't begin, because the step before them has no result."""
        self._before: MemberOutcome | None = None
        """How the member before the next one ended, if it has begun."""
        self._has_steps = False
        """Whether some members follow others."""
        self._shown = ""
        """The id of the member that runs, as far as the server knows: the member that the last heartbeat has named, or
        else the first member."""
        self._running: Message | None = None
        self._ended: list[MemberOutcome] = []
        """The outcomes that no report has told the workflow."""
        self._bytes = 0
        self._over = False
        """Whether no other member begins."""
        self._is_single = False
        """Whether a report has told the workflow of all members but one."""
        self._counts: Mapping[str, Any] | None = None
        """The last heartbeat of the member that runs."""
        self._hurry = asyncio.Event()
        """Set when the members that were not begun are to go back at once."""

    async def run(self, payloads: Sequence[RawValue]) -> Any:
        """Run the members, and return the report on them, or the result of the last one."""
        part = read_slice(payloads)
        with ExitStack() as self._reserved:
            self._add(part)
            work = asyncio.ensure_future(self._work(min(part.seconds, self._silence())))
            while not work.done():
                try:
                    await asyncio.wait([work])
                except asyncio.CancelledError:
                    self._cancelled()
            return work.result()

    async def _work(self, seconds: float) -> Any:
        self._members = asyncio.ensure_future(self._run_members(time.monotonic() + seconds))
        await self._wait_for_members(seconds)
        self._over = True
        await self._wait_for_members(LAST_MEMBER)
        if self._running is not None:
            if self._counts is not None or self._shown != self._running.id:
                self._tell(self._running)
            await self._send(self._running, unless=self._members.done)
        last = await self._members
        return to_raw(self._report().encode()) if last is None else await self._end_as(*last)

    async def _wait_for_members(self, seconds: float) -> None:
        """Return when the members have ended, or are to go back at once, or after so many seconds."""
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait([self._members, hurry], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()

    def _cancelled(self) -> None:
        """Begin no other member. Stop the running member, unless members were only revoked."""
        self._over = True
        self._hurry.set()
        details = activity.cancellation_details()
        if self._running is not None and (details is None or not details.cancel_requested):
            self._members.cancel()  # the worker ends, or the workflow was terminated: `stopping` decides

    def _add(self, part: Slice) -> None:
        for member in part.members:
            reserved = self._reserved.enter_context(ExitStack())
            if not member.follows:
                reserved.enter_context(self._reserve(self._job_of(member))).in_line = True
            self._waiting.append(Waiting(member, reserved))
            self._shown = self._shown or member.message.id
        self._has_steps = any(member.follows for member in part.members)
        # A lost slice counts as a loss for all its members. Where one loss is too many, each runs alone.
        self._over = self._worker.is_lost_too_often(1)

    def _job_of(self, member: SliceMember) -> Job:
        info = activity.info()
        return Job(
            member.message,
            AttemptCounts(member.message.retries),
            self._worker.hostname,
            previous_results=member.payloads,
            workflow_id=info.workflow_id,
            namespace=info.namespace,
            run_id=info.workflow_run_id or "",
            trace=trace_carrier(),
        )

    # --- the members -----------------------------------------------------------------------------

    async def _run_members(self, until: float) -> tuple[Message, MemberOutcome] | None:
        """Run the members one after the other. Return the last one if the activity is to end as its attempt did."""
        while self._waiting and not self._over:
            member = await self._next()
            if member is None:
                continue
            self._running = member.message
            self._before = outcome = await self._outcome(self._job_of(member))
            self._running = None
            if outcome is None:
                return None
            size = len(str(outcome.written()))
            if size > SMALL or self._is_single:
                return member.message, outcome
            self._ended.append(outcome)
            self._bytes += size
            most = MOST_RECORDED if self._has_steps else MOST_BYTES
            is_full = self._bytes > most or time.monotonic() > until
            self._over |= is_full or self._worker.stop_now.is_set() or not allows_others(outcome)
        return None

    async def _next(self) -> SliceMember | None:
        """Take the next member. Return None if it can't begin."""
        member = self._waiting[0].member
        if member.follows:
            self._counts = None
            result = None if self._before is None else self._before.for_next
            if result is None:
                self._before = None
                self._not_begun.append(self._waiting.popleft().member.message.id)
                return None
            if not await self._recorded(member.message):
                self._over = True
            if self._over:  # or it was told to end, meanwhile
                return None
            member = member.after(result)
        self._waiting.popleft().reserved.close()
        return member

    async def _outcome(self, job: Job) -> MemberOutcome | None:
        """Make the attempt of one member. Return None if nobody knows how it ended: then it counts as lost."""
        message, began = job.message, time.monotonic()
        self._counts = None
        heartbeat.told_by(lambda details: self._beat(message, details))
        result: Payload | None = None
        record: AttemptRecord | None = None
        try:
            result = from_raw(await self._attempt(job))
        except AttemptEnd as end:
            record = record_of(end, self._counts)
        except asyncio.CancelledError:
            return None
        except Exception:
            log.exception("%s[%s] could not be run in a slice", message.task, message.id)
            return None
        return MemberOutcome(message.id, message.task, time.monotonic() - began, result, record)

    # --- heartbeats ------------------------------------------------------------------------------
    #
    # The server keeps the details of the last heartbeat. The library sends heartbeats some time after it was given
    # them, so it could send old details after the recorded ends. So a slice with steps sends its heartbeats by itself
    # (`_recorded`), and gives the library none, as long as other steps may begin.

    def _silence(self) -> float:
        """Return the seconds that a slice with steps may go on without the library's heartbeats."""
        timeout = activity.info().heartbeat_timeout
        return timeout.total_seconds() / 2 if self._has_steps and timeout else math.inf

    def _beat(self, message: Message, details: Mapping[str, Any]) -> None:
        self._counts = details
        if self._over or not self._has_steps:
            self._tell(message)

    def _tell(self, running: Message) -> None:
        """Have the library send a heartbeat with the member that runs, and its progress."""
        activity.heartbeat(self._details(running))

    def _details(self, running: Message) -> dict[str, Any]:
        """Return the details of a heartbeat."""
        details = {**(self._counts or {}), wire.MEMBER: [running.id, running.task]}
        if self._has_steps and not self._is_single:
            details[wire.ENDS] = SliceReport(tuple(self._ended), tuple(self._not_begun)).written()
        return details

    async def _recorded(self, running: Message) -> bool:
        """Have the server keep the ends so far. Return False if it did not, or asks to stop.

        :param running: the member that runs, or begins next.
        """
        heartbeat = activity.client().get_async_activity_handle(task_token=activity.info().task_token).heartbeat
        try:
            await heartbeat(self._details(running), rpc_timeout=RECORD_TIMEOUT)
        except AsyncActivityCancelledError:
            self._over = True
            self._hurry.set()
            return False
        except Exception as error:  # of the server, or of a codec
            log.warning("the ends in %s could not be recorded: %s", activity.info().activity_id, one_line(error))
            return False
        self._shown = running.id
        return True

    # --- reports ---------------------------------------------------------------------------------

    def _report(self, rest: Message | None = None) -> SliceReport:
        """Return what the workflow does not know yet."""
        given_back = (*self._not_begun, *(waiting.member.message.id for waiting in self._waiting))
        single = None if rest is None else (rest.id, rest.task)
        return SliceReport(tuple(self._ended), given_back, single, activity.info().activity_id)

    async def _send(self, rest: Message, unless: Callable[[], bool]) -> None:
        """Tell the workflow of all members but one, which has the activity for itself from then on.

        :param unless: tells whether it is no longer worth it, because the result of the activity tells all.
        """
        info = activity.info()
        workflow = activity.client().get_workflow_handle(info.workflow_id or "", run_id=info.workflow_run_id)
        report = self._report(rest)
        while not self._is_single:
            try:
                await workflow.signal(wire.SLICE, to_raw(report.encode()))
                self._is_single = True
            except Exception as error:  # the member that runs must not be left alone, whatever it is
                if not is_transient(error) or self._worker.stop_now.is_set() or unless():
                    return
                log.warning("the report of a slice of %s is sent again: %s", info.workflow_id, one_line(error))
                self._tell(rest)
                await asyncio.sleep(REPORT_PAUSE)
        del self._ended[: len(report.outcomes)]  # the member that runs may have ended meanwhile
        while self._waiting:
            self._waiting.popleft().reserved.close()

    async def _end_as(self, message: Message, outcome: MemberOutcome) -> Any:
        """End the activity as the member's own activity would."""
        await self._send(message, unless=lambda: False)
        if not self._is_single:  # a large result can't travel with the others, so its member counts as lost
            return to_raw(self._report().encode())
        if outcome.goes_on:
            return to_raw(SliceReport((outcome,)).encode())
        if outcome.record is not None:
            raise AttemptEnd(outcome.record.text, *outcome.record.details, type=outcome.record.type, non_retryable=True)
        assert outcome.result is not None
        return to_raw(outcome.result)


def allows_others(outcome: MemberOutcome) -> bool:
    """Return whether the next members are not likely to end as this one."""
    return not outcome.goes_on or (outcome.record is not None and outcome.record.type in OWN_WISH)


def read_slice(payloads: Sequence[RawValue]) -> Slice:
    """Return the slice that the workflow sent."""
    try:
        head = header_of_activity()
        body = [from_raw(payload) for payload in payloads]
    except Exception as error:  # another worker may have the key; `payload.converter` has logged it
        raise AttemptEnd(str(error), type=type(error).__name__) from None
    try:
        return Slice.decode(b"" if head is None else head.data, body)
    except NewerMessage as error:
        raise AttemptEnd(str(error), type="NotFoundError") from None
    except InvalidTaskError as error:
        log.error("%s is refused: %s", one_line(activity.info().activity_id), one_line(error))
        raise AttemptEnd(str(error), type=type(error).__name__, non_retryable=True) from None


def record_of(end: AttemptEnd, counts: Mapping[str, Any] | None) -> AttemptRecord:
    """Return a record of how an attempt ended."""
    delay = None if end.next_retry_delay is None else end.next_retry_delay.total_seconds()
    return AttemptRecord(end.message, str(end.type), tuple(end.details), end.non_retryable, delay, counts)
