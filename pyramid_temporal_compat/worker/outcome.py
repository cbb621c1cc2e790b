"""How one run of a task ended: what the pool hands back to the activity. Frozen, and picklable."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..context import Context
from ..message import wire_names as wire
from ..message.message import Message, total_size
from ..payload import Payload

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One run to make."""

    message: Message
    retries: int
    """How often the task was retried before this run."""
    hostname: str
    redelivered: bool = False
    """Whether it was begun before, and given back: by `Reject`, or by a worker that was lost."""
    before: tuple[Payload, ...] = ()
    """Results that `message.joins` puts in front of the arguments."""
    workflow_id: str | None = None
    failed: Exception | None = None
    """Set: the run was ended from outside by this, and all that is left to do is what follows a failure."""
    attempt: int = 1
    """The how manieth the server counts."""
    namespace: str = ""
    run_id: str = ""
    """The run of the workflow."""
    asks: bool = False
    """It is not to be run: all that is asked is whether it has a receipt."""
    known_runs: Mapping[str, bool] = field(default_factory=dict)
    """Other runs of the workflow's id, and whether they are of this very task: then their receipts hold for it."""


@dataclass(frozen=True)
class Progress:
    """What `update_state` says while the task runs."""

    state: str
    meta: Any


@dataclass(frozen=True)
class Succeeded:
    result: Payload
    children: tuple[Any, ...] = ()
    """The tasks that the run asked for, each as `AsyncResult.as_tuple` writes it."""
    added: tuple[tuple[Payload, ...], ...] = ()
    """The trees that it has added to the header of its chord."""


def children_of(request: Context) -> tuple[Any, ...]:
    """The tasks that the run asked for, as they travel."""
    return tuple(child.as_tuple() for child in request.children or ())


def added_by(request: Context) -> tuple[tuple[Payload, ...], ...]:
    """The trees that the run has added to its chord."""
    return tuple(tuple(tree.encode()) for tree in request.added or ())


def succeeded(job: Job, request: Context, written: Payload, limit: int) -> Succeeded:
    """:param limit: bytes that the result, with all that goes with it, may have."""
    added = added_by(request)
    children = (*children_of(request), *(job.message.follows or ()))
    room = limit - total_size([wire.with_added(written, added)])
    return Succeeded(written, fitting(children, room, job.message), added)


def fitting(children: tuple[Any, ...], room: int, message: Message) -> tuple[Any, ...]:
    """As many of the children as there is room to tell of: the run is committed, and its end must arrive."""
    size = len(json.dumps(children)) + len(wire.CHILDREN)
    if size <= room:
        return children
    log.warning(
        "%s[%s] has asked for %d tasks: its result does not name them all, which would take %d bytes more than the "
        "server takes (ptemporal.payload_limit)",
        message.task,
        message.id,
        len(children),
        size - room,
    )
    fits: list[Any] = []
    for child in children:
        room -= len(json.dumps(child)) + len(", ")
        if room < len(wire.CHILDREN) + len("[]"):
            break
        fits.append(child)
    return tuple(fits)


@dataclass(frozen=True)
class Failed:
    error: Mapping[str, Any]
    """The exception, as `payload.errors` writes it."""
    expected: bool = False
    """One of the task's `throws`: worth an INFO line, not an ERROR."""
    children: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Retried:
    """The task asked to run again."""

    delay: float
    error: Mapping[str, Any]
    message: Message | None = None
    """What to run, where it differs from this run's message."""


@dataclass(frozen=True)
class GivenBack:
    """The task ended without a result: `Ignore`, or `Reject`."""

    state: Progress
    """The state that it ends in, and what `AsyncResult.info` shows of it."""
    reason: str
    requeue: bool = False


@dataclass(frozen=True)
class Replaced:
    """A tree takes the run's place."""

    tree: tuple[Payload, ...]


@dataclass(frozen=True)
class Claimed:
    """The task's id has a receipt that another run of its workflow's id has left."""

    workflow_id: str
    run_id: str


@dataclass(frozen=True)
class Asked:
    """Whether a task has a receipt."""

    is_done: bool


@dataclass(frozen=True)
class InDoubt:
    """Whether the task is done can't be told: the database does not say whether there is a receipt."""

    error: Mapping[str, Any]


@dataclass(frozen=True)
class Away:
    """The run was rolled back since its database went away."""

    error: Mapping[str, Any]


Outcome = Replaced | Succeeded | Failed | Retried | GivenBack | Claimed | Asked | InDoubt | Away


@dataclass(frozen=True)
class Began:
    """A job's turn in the pool has come; what `inspect active` shows of it."""

    pid: int
    at: float
    """In seconds since the epoch."""
