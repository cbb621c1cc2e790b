"""How long a worker waits between two heartbeats of a task that reports nothing."""

from __future__ import annotations

import pytest

from pyramid_temporal_compat.message.heartbeat_pause import heartbeat_pause


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
    assert heartbeat_pause(timeout) == pytest.approx(pause)
