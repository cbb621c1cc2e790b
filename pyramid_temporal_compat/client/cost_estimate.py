"""Estimate how many actions a namespace costs a month, from the workflows that started in the last days.

The server counts the workflows of each type. Some histories of each type are read, and say what one workflow costs. The
work is bounded, however large the namespace is: `MOST_TYPES` types are looked for, and `MOST_HISTORIES` histories are
read.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from .billable_actions import Kind, actions_of
from .for_each import for_each
from .history import ActivityScheduled, EventReader
from .list_filter import quoted, since
from .standalone import NOT_AVAILABLE

T = TypeVar("T")

MONTH = timedelta(days=30)
PARTS = 4
"""Equal parts of the period. Histories of each part are read, so that the sample spreads over the period."""
HISTORIES_PER_TYPE = 20
MOST_HISTORIES = 300
MOST_TYPES = 100
LISTED = 50
"""Workflows that are listed at a time to find types."""
MOST_EVENTS = 2000
"""Events that are read of one history. A longer one is taken to go on in the same way."""
AT_ONCE = 8
"""Calls to the server at a time."""


@dataclass(frozen=True)
class TypeCost:
    """What the workflows of one type cost in the period."""

    name: str
    workflows: int
    samples: Sequence[float]
    """The actions of the workflows whose histories were read."""
    kinds: Counter[Kind]
    """The actions of the samples by kind."""

    @property
    def each(self) -> float:
        return statistics.fmean(self.samples) if self.samples else 0.0

    @property
    def actions(self) -> float:
        return self.workflows * self.each

    @property
    def error(self) -> float:
        """Return the standard error of `actions`. It is 0 if all histories were read, or only one."""
        if len(self.samples) < 2 or len(self.samples) >= self.workflows:
            return 0.0
        return self.workflows * statistics.stdev(self.samples) / math.sqrt(len(self.samples))


@dataclass(frozen=True)
class CostEstimate:
    """What a namespace costs."""

    namespace: str
    since: datetime
    period: timedelta
    is_cut: bool
    """Whether the period is shorter than asked for, because the server has deleted older workflows."""
    idle: timedelta
    """Time at the beginning of the period in which no workflow started."""
    types: Sequence[TypeCost]
    other_workflows: int
    """Workflows of types that were not looked for, because there are too many."""
    activities: int
    """Standalone activities, such as orders to workers."""

    @property
    def a_month(self) -> float:
        """Return how often the period fits into a month."""
        return MONTH / self.period

    @property
    def histories(self) -> int:
        return sum(len(each.samples) for each in self.types)

    @property
    def workflows(self) -> int:
        return self.other_workflows + sum(each.workflows for each in self.types)

    @property
    def other_actions(self) -> float:
        """Return the actions of the other workflows, which are taken to cost what the others cost on average."""
        known = self.workflows - self.other_workflows
        return self.other_workflows * sum(each.actions for each in self.types) / known if known else 0.0

    @property
    def actions(self) -> float:
        """Return the actions in the period."""
        return sum(each.actions for each in self.types) + self.other_actions + self.activities

    @property
    def error(self) -> float:
        """Return two standard errors of `actions`: the true number is nearer in 19 of 20 cases."""
        return 2 * math.hypot(*(each.error for each in self.types))

    @property
    def kinds(self) -> Counter[Kind]:
        """Return the actions of the known types by kind, in the period."""
        found: Counter[Kind] = Counter()
        for each in self.types:
            for kind, number in each.kinds.items():
                found[kind] += round(number * each.workflows / len(each.samples))
        return found


async def estimate(client: Client, days: float) -> CostEstimate:
    """Return what the namespace has cost in the last days."""
    asked, kept = timedelta(days=days), await _retention(client)
    period = min(asked, kept)
    end = datetime.now(timezone.utc)
    parts = [(end - period + number * period / PARTS, period / PARTS) for number in range(PARTS)]
    begin = parts[0][0]
    in_period = since("StartTime", begin)
    names = await _types(client, in_period)
    most = max(PARTS, min(HISTORIES_PER_TYPE, MOST_HISTORIES // max(1, len(names))))

    async def cost(name: str) -> TypeCost:
        of_type = f"WorkflowType = {quoted(name)} AND "
        found = [await _newest(client, of_type + _within(*part), most) for part in parts]
        samples = [await _actions(client, run) for run in spread([run for part in found for run in part], most)]
        known = [sample for sample in samples if sample is not None]
        number = await _count(client, of_type + in_period)
        return TypeCost(name, number, [float(sum(sample.values())) for sample in known], sum(known, Counter[Kind]()))

    types = [each for each in await for_each(names, cost, AT_ONCE) if each.samples]
    started = await for_each(parts, lambda part: _count(client, _within(*part)), AT_ONCE)
    return CostEstimate(
        namespace=client.namespace,
        since=begin,
        period=period,
        is_cut=kept < asked,
        idle=period / PARTS * next((place for place, number in enumerate(started) if number), 0),
        types=sorted(types, key=lambda each: -each.actions),
        other_workflows=max(0, sum(started) - sum(each.workflows for each in types)),
        activities=await _activities(client, in_period),
    )


def spread(found: Sequence[T], most: int) -> Sequence[T]:
    """Return at most so many of the values, at equal distances."""
    if len(found) <= most:
        return found
    return [found[number * len(found) // most] for number in range(most)]


def _within(begin: datetime, length: timedelta) -> str:
    return f"{since('StartTime', begin)} AND StartTime < {quoted((begin + length).isoformat())}"


async def _retention(client: Client) -> timedelta:
    found = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    return found.config.workflow_execution_retention_ttl.ToTimedelta()


async def _types(client: Client, query: str) -> list[str]:
    """Return the types of the workflows, the newest type first."""
    found: list[str] = []
    while len(found) < MOST_TYPES:
        others = "".join(f" AND WorkflowType != {quoted(name)}" for name in found)
        if not (more := await _newest(client, query + others, LISTED)):
            break
        found += dict.fromkeys(run.workflow_type for run in more)
    return found[:MOST_TYPES]


async def _newest(client: Client, query: str, most: int) -> list[WorkflowExecution]:
    return [run async for run in client.list_workflows(query, limit=most, page_size=most)]


async def _count(client: Client, query: str) -> int:
    return (await client.count_workflows(query)).count


async def _activities(client: Client, query: str) -> int:
    try:
        return (await client.count_activities(query)).count
    except RPCError as error:
        if error.status in NOT_AVAILABLE:
            return 0
        raise


async def _actions(client: Client, run: WorkflowExecution) -> Counter[Kind] | None:
    """Return the actions of a workflow so far; None if the server has deleted it meanwhile."""
    events: list[HistoryEvent] = []
    try:
        async for event in client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history_events():
            events.append(event)
            if len(events) == MOST_EVENTS:
                break
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    found = actions_of(events)
    found["heartbeat"] += await _heartbeats_between_steps(client, events)
    longer = max(1.0, run.history_length / len(events)) if len(events) == MOST_EVENTS else 1.0
    return Counter({kind: round(number * longer) for kind, number in (+found).items()})


async def _heartbeats_between_steps(client: Client, events: Sequence[HistoryEvent]) -> int:
    """Return how many heartbeats the slices of chains have sent: one before each step that follows another."""
    reader, number = EventReader(client.data_converter), 0
    for event in events:
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            asked = reader.read(event)
            # Without the key of an application, its slices can't be read.
            with contextlib.suppress(Exception):
                number += await asked.followers() if isinstance(asked, ActivityScheduled) else 0
    return number
