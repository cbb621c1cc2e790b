"""A task's status: its state, and the values that belong to the state."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import states
from ..payload import Payload

ABORTED = "ABORTED"
"""The state of an abortable task that was asked to stop and still runs."""


@dataclass(frozen=True)
class Status:
    """What the server knows of a task at one moment."""

    state: str = states.PENDING
    result: Payload | None = None
    error: Mapping[str, Any] | None = None
    """The task's error, as `payload.errors` writes it."""
    meta: Any = None
    """The second argument of the task's last `update_state`."""
    name: str | None = None
    queue: str | None = None
    retries: int = 0
    worker: str | None = None
    ended: bool = False
    """Whether the task has ended, in any state: `update_state` can also set a state with another name."""
    ended_at: datetime.datetime | None = None
    """When the task ended."""
    paused: bool = False
    """Whether the task waits because somebody has paused it on the server, by itself or with all tasks of its type."""
    never_ran: bool = False
    """Whether the task was not to run: it is linked to a task that ended otherwise. Celery has no state for it."""
    known: bool = True
    """Whether the server has the task."""
    kept: bool = True
    """Whether the server keeps the result. False for a task that succeeded and was called with `ignore_result`.
    The next task of a canvas gets such a result all the same."""
    children: Any = None
    """The results of the tasks that the run sent, as `AsyncResult.as_tuple` writes them."""

    @property
    def ready(self) -> bool:
        return self.ended or self.state in states.READY_STATES
