"""How often a running task sends a heartbeat, of which Temporal Cloud bills each."""

from __future__ import annotations

PART_OF_TIMEOUT = 0.8
"""Part of the timeout between two heartbeats of a task that reports nothing."""
SLACK = 6.0
"""Seconds that a heartbeat may be late, on a busy machine, before the server takes the worker for lost."""
BEATS_PER_SHORT_TIMEOUT = 10
"""Heartbeats in a `heartbeat_timeout` that is shorter than the slack: that many may be late."""
SHORTEST_PAUSE = 0.02
"""Seconds between two heartbeats at least, even if a message asks for a very short timeout."""


def heartbeat_pause(timeout: float) -> float:
    """Return the seconds between two heartbeats of a task with this `heartbeat_timeout`."""
    seldom = min(timeout * PART_OF_TIMEOUT, timeout - SLACK)
    return max(SHORTEST_PAUSE, seldom, timeout / BEATS_PER_SHORT_TIMEOUT)
