"""What the server is told of a task's activity, in a workflow or without one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.common import RetryPolicy

from .message import Message
from .priority import priority_of

LONGEST_RUN = timedelta(days=3650)
"""The server asks for a limit. The limits that act are the pool's (`time_limit`) and the heartbeat timeout."""


def activity_options(message: Message) -> dict[str, Any]:
    """Return the options with which temporalio starts the activity of a task."""
    return {
        "task_queue": message.queue,
        "start_to_close_timeout": LONGEST_RUN,
        "heartbeat_timeout": timedelta(seconds=message.heartbeat_timeout),
        # A lost worker makes the server try again. A failure of the task says itself whether another attempt follows.
        "retry_policy": RetryPolicy(
            initial_interval=timedelta(seconds=1),
            maximum_interval=timedelta(minutes=1),
            maximum_attempts=1 if message.at_most_once and not message.held else 0,
        ),
        "priority": priority_of(message),
    }
