"""The log lines of Temporal's client library in Python's logging."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.runtime import LogForwardingConfig

from pyramid_temporal_compat.client.forwarded_log import LONGEST, MOST_KINDS, telemetry

FAILED = 'Status { code: Unavailable, message: "tcp connect\x1b[0m error", source: Some(tonic::transport::Error(...)) }'


@dataclass
class Line:
    """A line as the library's Rust part hands it over."""

    message: str
    fields: dict[str, Any] = field(default_factory=dict)
    level: int = logging.WARNING
    target: str = "temporalio_client::retry"
    time: float = 1.0


@pytest.fixture
def forwarding() -> LogForwardingConfig:
    found = telemetry().logging
    assert found is not None
    assert found.forwarding is not None
    return found.forwarding


def hand_over(forwarding: LogForwardingConfig, *lines: Line) -> None:
    forwarding._on_logs(lines)  # type: ignore[arg-type]


def test_lines_of_one_kind_are_logged_once_and_are_short(
    forwarding: LogForwardingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    calls = [Line(f"gRPC call poll_{n}_queue retried {n} times", {"error": FAILED}) for n in range(5, 30)]
    hand_over(forwarding, *calls)
    hand_over(forwarding, Line("Network error while completing activity", {"task_token": "x" * 500, "run_id": "r1"}))
    assert caplog.messages == [
        r"Temporal's client library (lines like this: 1): gRPC call poll_5_queue retried 5 times "
        r"error=Unavailable: tcp connect\x1b[0m error",
        "Temporal's client library (lines like this: 1): Network error while completing activity run_id=r1",
    ]
    assert {record.name for record in caplog.records} == {"temporalio.sdk_core"}
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_the_line_after_a_revoked_task_is_for_debugging(
    forwarding: LogForwardingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    line = Line("Activity not found on completion. This may happen if …", {"task_token": "TaskToken(Ci)"})
    hand_over(forwarding, line)
    assert caplog.messages == []
    with caplog.at_level(logging.DEBUG, "temporalio.sdk_core"):
        hand_over(forwarding, line)
    assert caplog.messages == ["Activity not found on completion. This may happen if …"]


def test_many_kinds_of_lines_take_no_more_room(
    forwarding: LogForwardingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    hand_over(forwarding, *(Line("x" * number) for number in range(1, 3 * MOST_KINDS)))
    assert len(caplog.messages) == MOST_KINDS + 1
    assert max(map(len, caplog.messages)) <= LONGEST + 100


def test_the_level_of_the_logger_counts(forwarding: LogForwardingConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "temporalio.sdk_core"):
        hand_over(forwarding, Line("gRPC call x retried 5 times"))
        hand_over(forwarding, Line("the worker has ended", level=logging.ERROR))
    assert caplog.messages == ["Temporal's client library (lines like this: 1): the worker has ended"]
