"""A workflow's history, read as typed events."""

from __future__ import annotations

import asyncio
import datetime
import time

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowExecutionStatus

from pyramid_temporal_compat.client.history import (
    ActivityCompleted,
    ActivityScheduled,
    Event,
    EventReader,
    WorkflowClosed,
    WorkflowStarted,
)
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.converter import data_converter, to_raw
from pyramid_temporal_compat.payload.headers import FIELD

NOON = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.timezone.utc)


def server_event(number: int, kind: str, **attributes: object) -> HistoryEvent:
    event = HistoryEvent(event_id=number, event_type=EventType.Value(f"EVENT_TYPE_{kind}"))
    event.event_time.FromDatetime(NOON)
    fields = getattr(event, f"{kind.lower()}_event_attributes")
    fields.SetInParent()
    for name, value in attributes.items():
        setattr(fields, name, value)
    return event


def started_with(*payloads: Payload, ours: bool = True) -> WorkflowStarted:
    event = server_event(1, "WORKFLOW_EXECUTION_STARTED")
    protos = [to_raw(payload).payload for payload in payloads]
    started = event.workflow_execution_started_event_attributes
    if ours:
        started.header.fields[FIELD].CopyFrom(protos.pop(0))
    started.input.payloads.extend(protos)
    read = EventReader(data_converter()).read(event)
    assert isinstance(read, WorkflowStarted)
    return read


def test_an_activity_s_end_refers_to_the_activity() -> None:
    reader = EventReader(data_converter())
    scheduled = reader.read(server_event(5, "ACTIVITY_TASK_SCHEDULED", activity_id="a"))
    ended = server_event(7, "ACTIVITY_TASK_COMPLETED", scheduled_event_id=5)
    ended.activity_task_completed_event_attributes.result.payloads.append(to_raw(Payload({}, b"1")).payload)
    completed = reader.read(ended)
    assert isinstance(scheduled, ActivityScheduled)
    assert isinstance(completed, ActivityCompleted)
    assert completed.activity is scheduled
    assert [result.data for result in asyncio.run(completed.result.payloads())] == [b"1"]


def test_an_event_that_nobody_needs_still_has_its_number() -> None:
    event = EventReader(data_converter()).read(server_event(3, "WORKFLOW_TASK_STARTED"))
    assert event == Event(3, NOON)


def test_the_last_event_says_how_the_workflow_ended() -> None:
    event = EventReader(data_converter()).read(server_event(9, "WORKFLOW_EXECUTION_TERMINATED"))
    assert isinstance(event, WorkflowClosed)
    assert event.status is WorkflowExecutionStatus.TERMINATED


@pytest.mark.skipif(
    not hasattr(time, "tzset"), reason="this system can't change the time zone of a process (time.tzset)"
)
def test_times_are_right_in_every_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert EventReader(data_converter()).read(server_event(3, "WORKFLOW_TASK_STARTED")).time == NOON
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_message_that_a_workflow_was_started_with_is_read() -> None:
    message = Message("shop.pack", "1", (Payload({}, b"{}"),), "items")
    assert asyncio.run(started_with(*message.encode()).unit()) == message


def test_the_input_of_another_application_s_workflow_is_no_message() -> None:
    assert asyncio.run(started_with(Payload({}, b"1"), Payload({}, b"2")).unit()) is None
    assert asyncio.run(started_with(Payload({}, b"1"), ours=False).unit()) is None
    assert asyncio.run(started_with(ours=False).unit()) is None
