"""Count from a workflow's history what Temporal Cloud bills: its *actions*.

The server's own metric, `action`, has the same kinds of actions. A history shows most actions, but no heartbeats. Their
number is estimated: the last attempt of an activity shows how long the task ran, and workers send heartbeats at known
times. `cost_estimate` adds the heartbeats between the steps of a chain, for which it has to decode what slices were
given. Queries, rejected updates and orders to workers leave no trace in a history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    ActivityTaskScheduledEventAttributes,
    HistoryEvent,
    WorkflowExecutionStartedEventAttributes,
)

from ..message.heartbeat_pause import heartbeat_pause

Kind = Literal["start", "schedule", "child", "activity", "retry", "heartbeat", "timer", "marker", "message", "other"]

SCHEDULED_BY = "TemporalScheduledById"
"""Search attribute of a workflow that a Schedule has started."""

ONE_ACTION: dict[int, Kind] = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: "activity",
    EventType.EVENT_TYPE_TIMER_STARTED: "timer",
    EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: "message",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: "message",
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: "other",
    EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED: "other",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED: "other",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: "start",
    EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED: "other",
    EventType.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUESTED: "other",
}
"""Types of events that cost one action each."""
ACTIVITY_ENDS = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: "activity_task_completed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: "activity_task_failed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: "activity_task_timed_out_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: "activity_task_canceled_event_attributes",
}


def actions_of(events: Iterable[HistoryEvent]) -> Counter[Kind]:
    """Return how many actions of each kind a workflow has cost so far.

    :param events: the history from its first event on.
    """
    found: Counter[Kind] = Counter()
    activities: dict[int, ActivityTaskScheduledEventAttributes] = {}
    begun: dict[int, HistoryEvent] = {}
    with_markers: set[int] = set()
    for event in events:
        kind = event.event_type
        if kind in ONE_ACTION:
            found[ONE_ACTION[kind]] += 1
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            found += _actions_of_start(event.workflow_execution_started_event_attributes)
        elif kind == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            activities[event.event_id] = event.activity_task_scheduled_event_attributes
        elif kind == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            begun[event.event_id] = event
            found["retry"] += event.activity_task_started_event_attributes.attempt - 1
        elif kind in ACTIVITY_ENDS:
            started = begun.pop(getattr(event, ACTIVITY_ENDS[kind]).started_event_id, None)
            if started is not None:
                asked = activities[started.activity_task_started_event_attributes.scheduled_event_id]
                nanoseconds = event.event_time.ToNanoseconds() - started.event_time.ToNanoseconds()
                found["heartbeat"] += _heartbeats(asked, nanoseconds / 1e9)
        elif kind == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            found["child"] += 2
        elif kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            # A signal from another workflow is counted there.
            from_workflow = event.workflow_execution_signaled_event_attributes.HasField("external_workflow_execution")
            found["message"] += not from_workflow
        elif kind == EventType.EVENT_TYPE_MARKER_RECORDED:
            # All markers of one workflow task cost one action.
            with_markers.add(event.marker_recorded_event_attributes.workflow_task_completed_event_id)
    found["marker"] = len(with_markers)
    return +found


def _actions_of_start(start: WorkflowExecutionStartedEventAttributes) -> Counter[Kind]:
    """Return the actions of a start. The parent has paid for a child workflow, and the last run for the next run."""
    if start.HasField("parent_workflow_execution") or start.continued_execution_run_id:
        return Counter()
    return Counter({"start": 1, "schedule": 2 * (SCHEDULED_BY in start.search_attributes.indexed_fields)})


def _heartbeats(activity: ActivityTaskScheduledEventAttributes, seconds: float) -> int:
    """Return how many heartbeats the last attempt of a task has sent, if it ran so long and reported no progress."""
    timeout = activity.heartbeat_timeout.ToTimedelta().total_seconds()
    return int(seconds / heartbeat_pause(timeout)) if timeout else 0
