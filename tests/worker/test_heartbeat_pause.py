"""How long a worker waits between two heartbeats of a task that reports nothing."""

from __future__ import annotations

import pytest

from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.worker.heartbeat import pause_of


@pytest.mark.parametrize(
    ("timeout", "pause"),
    [
        (3600.0, 2880.0),  # 0.8 of the timeout
        (30.0, 24.0),
        (10.0, 4.0),  # six seconds of slack for a busy machine
        (5.0, 0.5),  # no room for that: a tenth
        (0.1, 0.02),
    ],
)
def test_heartbeats_are_as_seldom_as_the_timeout_allows(timeout: float, pause: float) -> None:
    message = Message(task="t", id="i", queue="q", body=Payload({}, b""), heartbeat_timeout=timeout)
    assert pause_of(message) == pytest.approx(pause)
