"""What is known of a task: its state, and what goes with it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import states
from ..message import wire_names as wire
from ..payload import Payload


@dataclass(frozen=True)
class Status:
    """A task's state, and what goes with it."""

    state: str = states.PENDING
    result: Payload | None = None
    error: Mapping[str, Any] | None = None
    """How it failed, as `payload.errors` writes it."""
    meta: Any = None
    """What the task gave `update_state`."""
    name: str | None = None
    queue: str | None = None
    retries: int = 0
    worker: str | None = None
    over: bool = False
    ended: datetime.datetime | None = None
    known: bool = True
    """Whether the server has the task."""
    kept: bool = True
    """Whether there is a result: not for a task that ended well and was called with `ignore_result`, though another
    may have been given it."""
    children: Any = None

    @property
    def ready(self) -> bool:
        return self.over or self.state in states.READY_STATES


def of_result(payload: Payload) -> Status:
    """The status of a task that has ended with this result."""
    state = payload.metadata.get(wire.ENDED_AS, b"").decode(errors="replace") or states.SUCCESS
    kept = wire.NOT_KEPT not in payload.metadata
    return Status(
        state,
        result=payload if kept else None,
        retries=wire.count(payload.metadata.get(wire.RETRIED)),
        over=True,
        kept=kept,
        children=_children(payload.metadata.get(wire.CHILDREN)),
    )


def _children(written: bytes | None) -> Any:
    try:
        found = json.loads(written) if written else None
    except (ValueError, RecursionError):  # no worker wrote that; the result can be read all the same
        return None
    return found if isinstance(found, list) else None
