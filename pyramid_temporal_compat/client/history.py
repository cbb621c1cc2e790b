"""Read a workflow's history as typed events. No other module decodes the server's history.

An event decodes its payloads only when it is asked for them: most readers need few of them, and large payloads may be
compressed or encrypted.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from temporalio.api.common.v1 import Payload as ProtoPayload
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from ..exceptions import InvalidTaskError, SecurityError
from ..message import wire_names as wire
from ..message.message import Message
from ..message.scheduled import fired
from ..message.slices import AttemptRecord, Slice, SliceMember, SliceReport, recorded_ends
from ..message.tree import Tree, is_tree, read_unit
from ..payload import Payload
from ..payload.converter import from_raw
from ..payload.headers import FIELD

CLOSES = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: WorkflowExecutionStatus.COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: WorkflowExecutionStatus.FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: WorkflowExecutionStatus.CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: WorkflowExecutionStatus.TERMINATED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: WorkflowExecutionStatus.TIMED_OUT,
}
"""The last event of a history, and the workflow's status after it."""


@dataclass(frozen=True)
class Encoded:
    """Payloads as the history stores them, before the codecs have decoded them."""

    stored: Sequence[ProtoPayload]
    converter: DataConverter

    async def payloads(self, first: int | None = None) -> list[Payload]:
        """Return the decoded payloads, or only the `first` ones."""
        wanted = self.stored[:first]
        return [from_raw(raw) for raw in await self.converter.decode(wanted, [RawValue] * len(wanted))]

    async def values(self) -> Sequence[Any]:
        """Return the payloads as the Python values that were written."""
        return await self.converter.decode(self.stored)

    async def value(self) -> Any:
        """Return the first payload as the Python value that was written."""
        (value,) = await self.converter.decode(self.stored[:1])
        return value


@dataclass(frozen=True)
class EncodedFailure:
    """A failure as the history stores it, before the codecs have decoded it."""

    stored: Failure
    converter: DataConverter

    async def error(self) -> BaseException:
        """Return the failure as temporalio's exception, such as `ApplicationError`."""
        return await self.converter.decode_failure(self.stored)


@dataclass(frozen=True)
class KnownResult:
    """A result that was read from the report of a slice. It stands in the place of an `Encoded`."""

    result: Payload

    async def payloads(self, first: int | None = None) -> list[Payload]:
        return [self.result]


@dataclass(frozen=True)
class KnownFailure:
    """A failure that was read from the report of a slice. It stands in the place of an `EncodedFailure`."""

    record: AttemptRecord

    async def error(self) -> BaseException:
        return self.record.error()


@dataclass(frozen=True)
class Event:
    """One event of a history. Events of a kind that no reader needs have this class."""

    number: int
    """Place of the event in its history. The first event has 1."""
    time: datetime.datetime


@dataclass(frozen=True)
class WorkflowStarted(Event):
    """The first event: the workflow exists."""

    workflow_id: str
    input: Encoded
    """What the header has for this package, if it has something, and then the arguments."""
    is_ours: bool
    """Whether the header has something for this package."""

    async def unit(self) -> Message | Tree | None:
        """Return the message or tree that the workflow runs.

        None if it runs neither, or if another client has called a task without an envelope.
        """
        if not self.is_ours:
            return None
        first, *others = await self.input.payloads()
        if is_tree(first.data):
            # A large canvas takes seconds, in which a worker's heartbeats must go on.
            unit: Message | Tree | None = await asyncio.to_thread(unit_in, first, others)
        else:
            unit = unit_in(first, others)
        return None if unit is None else fired(unit, self.workflow_id, self.time)


Call = tuple[Message, tuple[Payload, ...]]
"""A message, and the payloads that follow its body."""


@dataclass(frozen=True)
class ActivityScheduled(Event):
    """The workflow has asked for an activity."""

    activity_id: str
    name: str
    queue: str
    input: Encoded
    """As in `WorkflowStarted`."""
    is_ours: bool
    results: Mapping[str, Payload] = field(default_factory=dict)
    """For a slice: the results of its members, as far as reports have told them."""

    async def call_of(self, member: str | None) -> Call | None:
        """Return the message that the activity runs for a member of a tree; None if `calls` lacks the member.

        :param member: the member's id; None for a workflow that runs a single task.
        """
        if member not in (None, self.activity_id) and self.name != wire.SLICE:
            return None
        calls = await self.calls()
        if self.name == wire.SLICE:
            calls = [call for call in calls if call[0].id == member]
        return calls[0] if calls else None

    async def calls(self) -> Sequence[Call]:
        """Return what the activity runs: the call of one task, or the calls of a slice.

        Return nothing for an activity of another application. A step of a chain is left out until a report has told
        how the step before it ended.
        """
        return [each.call for each in await self._members() if not each.follows]

    async def followers(self) -> int:
        """Return how many members of a slice follow another: the next steps of chains."""
        return sum(each.follows for each in await self._members())

    async def _members(self) -> Sequence[SliceMember]:
        if not self.is_ours:
            return []
        head, *body = await self.input.payloads()
        try:
            if self.name == wire.SLICE:
                return list(self._known(Slice.decode(head.data, body).members))
            return [SliceMember(*Message.decode(head.data, body).apart())]
        except InvalidTaskError:
            return []

    def _known(self, members: Sequence[SliceMember]) -> Iterator[SliceMember]:
        """Yield the members of a slice, with the results that steps of a chain take."""
        before = ""
        for member in members:
            yield member.after(self.results[before]) if member.follows and before in self.results else member
            before = member.message.id


@dataclass(frozen=True)
class ActivityStarted(Event):
    """A worker has begun an activity. The server writes this event only when the activity ends."""

    activity: ActivityScheduled
    worker: str
    attempt: int
    """Attempt number, as the server counts it."""
    last_failure: EncodedFailure | None
    """How the attempt before this one failed."""


@dataclass(frozen=True)
class ActivityCompleted(Event):
    """An activity has returned a result."""

    activity: ActivityScheduled
    result: Encoded | KnownResult


@dataclass(frozen=True)
class ActivityFailed(Event):
    """An activity has failed, and the server does not retry it."""

    activity: ActivityScheduled
    failure: EncodedFailure | KnownFailure


@dataclass(frozen=True)
class ActivityTimedOut(Event):
    """The server has heard nothing of an activity for too long, and does not retry it."""

    activity: ActivityScheduled
    heartbeat: Encoded
    """The details of its last heartbeat."""


ActivityEnd = ActivityCompleted | ActivityFailed | ActivityTimedOut
"""How an activity ends for good."""


@dataclass(frozen=True)
class SliceReported(Event):
    """A worker has told the workflow of members of a slice before the slice has ended."""

    report: Encoded


@dataclass(frozen=True)
class MemoChanged(Event):
    """The workflow has written to its memo."""

    fields: Mapping[str, Encoded]


@dataclass(frozen=True)
class WorkflowClosed(Event):
    """The workflow has ended: completed, failed, canceled, terminated or timed out."""

    status: WorkflowExecutionStatus
    failure: EncodedFailure
    """Says something only if the status is FAILED."""


class EventReader:
    """Makes typed events of one history. Needs all events from the first on: later events refer to earlier ones."""

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter
        self._activities: dict[int, ActivityScheduled] = {}

    def read(self, event: HistoryEvent) -> Event:
        """Return the server's event as a typed value."""
        kind = event.event_type
        number, time = event.event_id, event.event_time.ToDatetime(tzinfo=datetime.timezone.utc)
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            start = event.workflow_execution_started_event_attributes
            return WorkflowStarted(number, time, start.workflow_id, *self._received(start))
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            asked = event.activity_task_scheduled_event_attributes
            name, queue = asked.activity_type.name, asked.task_queue.name
            activity = ActivityScheduled(number, time, asked.activity_id, name, queue, *self._received(asked))
            self._activities[number] = activity
            return activity
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            begun = event.activity_task_started_event_attributes
            before = self._encoded_failure(begun.last_failure) if begun.HasField("last_failure") else None
            asked_for = self._activities[begun.scheduled_event_id]
            return ActivityStarted(number, time, asked_for, begun.identity, begun.attempt, before)
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            completed = event.activity_task_completed_event_attributes
            activity = self._activities[completed.scheduled_event_id]
            return ActivityCompleted(number, time, activity, self._encoded(completed.result))
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
            failed = event.activity_task_failed_event_attributes
            return ActivityFailed(
                number, time, self._activities[failed.scheduled_event_id], self._encoded_failure(failed.failure)
            )
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
            lost = event.activity_task_timed_out_event_attributes
            heartbeat = lost.failure.timeout_failure_info.last_heartbeat_details
            return ActivityTimedOut(number, time, self._activities[lost.scheduled_event_id], self._encoded(heartbeat))
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            signal = event.workflow_execution_signaled_event_attributes
            is_report = signal.signal_name == wire.SLICE
            return SliceReported(number, time, self._encoded(signal.input)) if is_report else Event(number, time)
        if kind == EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED:
            fields = event.workflow_properties_modified_event_attributes.upserted_memo.fields
            return MemoChanged(
                number, time, {name: Encoded([payload], self._converter) for name, payload in fields.items()}
            )
        if kind in CLOSES:
            failure = event.workflow_execution_failed_event_attributes.failure
            return WorkflowClosed(number, time, CLOSES[kind], self._encoded_failure(failure))
        return Event(number, time)

    def _received(self, asked: Any) -> tuple[Encoded, bool]:
        """Return what a workflow or activity was given, and whether it is in the form of this package."""
        fields, arguments = asked.header.fields, asked.input.payloads
        if FIELD not in fields:
            return Encoded(arguments, self._converter), False
        return Encoded([fields[FIELD], *arguments], self._converter), True

    def _encoded(self, payloads: Any) -> Encoded:
        return Encoded(payloads.payloads, self._converter)

    def _encoded_failure(self, failure: Failure) -> EncodedFailure:
        return EncodedFailure(failure, self._converter)


class SliceEvents:
    """Turns the reports of slices into the events that the members' own activities would have.

    Readers of a history see the ends of members, and need not know whether a member ran in a slice.
    """

    def __init__(self, converter: DataConverter) -> None:
        self._nothing = Encoded((), converter)
        self._slices: dict[str, ActivityScheduled] = {}
        self._starts: dict[str, ActivityStarted] = {}
        """The starts of slices that have not ended."""
        self._results: dict[str, dict[str, Payload]] = {}
        """The results of the members that have ended, by the slice's id."""
        self._single: dict[str, tuple[str, str]] = {}
        """The id and the task of the member to which the activity of a slice belongs, by the activity's id."""

    async def events(self, event: Event) -> Sequence[Event]:
        """Return what the event stands for. Most events stand for themselves."""
        if isinstance(event, ActivityScheduled) and event.name == wire.SLICE:
            self._slices[event.activity_id] = event
        elif isinstance(event, ActivityStarted) and event.activity.name == wire.SLICE:
            self._starts[event.activity.activity_id] = event
            return [Event(event.number, event.time)]
        elif isinstance(event, SliceReported):
            report = await read_report(event.report)
            if report is not None and report.slice_id in self._slices:
                if report.rest is not None:
                    self._single[report.slice_id] = report.rest
                part = self._slices[report.slice_id]
                ends = self._ends(part, event, report)
                return [event, self._with_results(part, event), *ends]
        elif isinstance(event, ActivityEnd) and event.activity.name == wire.SLICE:
            ends = await self._last_ends(event)
            start = self._starts.pop(event.activity.activity_id, None)
            begun = [] if start is None else [replace(start, number=event.number)]
            # Readers learn first which steps it ran, then of the worker that ran them.
            return [self._with_results(event.activity, event), *begun, *ends]
        return [event]

    async def _last_ends(self, event: ActivityEnd) -> Sequence[Event]:
        """Return the ends of members that the end of a slice's activity reports."""
        report = None
        if isinstance(event, ActivityTimedOut):
            report = recorded_ends(await event.heartbeat.values())
        elif isinstance(event, ActivityCompleted):
            (result,) = await event.result.payloads()
            if wire.SLICE in result.metadata:
                report = await read_report(event.result) or SliceReport()
        if report is not None:
            return self._ends(event.activity, event, report)
        single = self._single.get(event.activity.activity_id)
        if single is None or isinstance(event, ActivityTimedOut):
            return []
        return [replace(event, activity=self._member(event.activity, *single))]

    def recorded(self, activity: PendingActivityInfo, queue: str, report: SliceReport) -> Sequence[Event]:
        """Return the ends in a slice that runs, from a report that its heartbeat carries."""
        time = activity.last_heartbeat_time.ToDatetime(tzinfo=datetime.timezone.utc)
        scheduled = ActivityScheduled(0, time, activity.activity_id, wire.SLICE, queue, self._nothing, is_ours=False)
        return self._ends(scheduled, scheduled, report)

    def _ends(self, activity: ActivityScheduled, event: Event, report: SliceReport) -> Sequence[Event]:
        results = self._results.setdefault(activity.activity_id, {})
        results |= {outcome.id: result for outcome in report.outcomes if (result := outcome.for_next) is not None}
        ends: list[Event] = []
        for outcome in report.outcomes:
            member = self._member(activity, outcome.id, outcome.task)
            if outcome.result is not None:
                ends.append(ActivityCompleted(event.number, event.time, member, KnownResult(outcome.result)))
            elif outcome.record is not None and outcome.record.final:
                ends.append(ActivityFailed(event.number, event.time, member, KnownFailure(outcome.record)))
        return ends

    def _with_results(self, activity: ActivityScheduled, event: Event) -> ActivityScheduled:
        """Return the slice with the results that steps of a chain have taken, as far as they are known."""
        return replace(activity, number=event.number, results=self._results.get(activity.activity_id, {}))

    def _member(self, activity: ActivityScheduled, member_id: str, task: str) -> ActivityScheduled:
        return replace(activity, activity_id=member_id, name=task, input=self._nothing, is_ours=False)


async def read_report(encoded: Encoded | KnownResult) -> SliceReport | None:
    """Return the report of a slice; None if it can't be read, because anyone can send such a signal."""
    try:
        (payload,) = await encoded.payloads()
        return SliceReport.decode(payload)
    except (InvalidTaskError, SecurityError, ValueError, RecursionError):
        return None


async def recorded_events(client: Client, activity: PendingActivityInfo, queue: str) -> Sequence[Event]:
    """Return the ends in a slice that runs, as its last heartbeat has told them. The history has them later."""
    report = recorded_ends(await Encoded(activity.heartbeat_details.payloads, client.data_converter).values())
    if report is None:
        return []
    return SliceEvents(client.data_converter).recorded(activity, queue, report)


async def read_history(
    client: Client, workflow_id: str, run_id: str | None = None, *, follow: bool = False, page_size: int | None = None
) -> AsyncIterator[Event]:
    """Yield the events of a workflow's history. With `follow`, wait for new events until the workflow has ended.

    :param page_size: how many events one call to the server reads. Without a value, the server decides.
    """
    reader, slices = EventReader(client.data_converter), SliceEvents(client.data_converter)
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    async for event in handle.fetch_history_events(wait_new_event=follow, page_size=page_size):
        for each in await slices.events(reader.read(event)):
            yield each


async def end_of(client: Client, workflow_id: str, run_id: str | None = None) -> WorkflowClosed | None:
    """Return the last event of a workflow's history; None if the workflow runs, or if the server does not have it."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id or ""),
        maximum_page_size=1,
    )
    try:
        found = await client.workflow_service.get_workflow_execution_history_reverse(request, retry=True)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    last = found.history.events[0] if found.history.events else None
    if last is None or last.event_type not in CLOSES:
        return None
    closed = EventReader(client.data_converter).read(last)
    return closed if isinstance(closed, WorkflowClosed) else None


async def started_with(client: Client, workflow_id: str, run_id: str | None = None) -> Message | Tree | None:
    """Return the message or tree that a workflow was started with.

    None if the server does not have the workflow, or if it is another application's.
    """
    first = await start_of(client, workflow_id, run_id)
    return await first.unit() if first else None


async def start_of(client: Client, workflow_id: str, run_id: str | None = None) -> WorkflowStarted | None:
    """Return the first event of a workflow's history; None if the server does not have the workflow."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    try:
        first = EventReader(client.data_converter).read(await handle.fetch_history_events(page_size=1).__anext__())
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return first if isinstance(first, WorkflowStarted) else None


async def tree_of(client: Client, workflow_id: str) -> Tree | None:
    """Return the tree that a workflow was started with; None if the workflow is unknown or runs no tree."""
    unit = await started_with(client, workflow_id)
    return unit if isinstance(unit, Tree) else None


def unit_in(first: Payload, others: Sequence[Payload]) -> Message | Tree | None:
    """Return the message or tree of these payloads; None if no release of this package has written them."""
    try:
        return read_unit(first, others)
    except InvalidTaskError:
        return None
