"""How one run of a task ended: what the pool hands back to the event loop. Frozen and picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..message.message import Message
from ..payload import Payload
from .job import Progress


class ReceiptUse(Enum):
    """What a receipt did in a run that committed, or that did not have to."""

    NONE = "none"
    LEFT = "left"
    """The run has left a receipt."""
    FOUND = "found"
    """An earlier run has left one: the outcome is that run's, and this run had no effect."""


@dataclass(frozen=True)
class Succeeded:
    """The function returned, and the transaction committed."""

    result: Payload
    children: tuple[Any, ...] = ()
    """The tasks that the run asked for, each as `AsyncResult.as_tuple` writes it."""
    added: tuple[tuple[Payload, ...], ...] = ()
    """The trees that the run added to the header of its chord."""
    receipt: ReceiptUse = field(default=ReceiptUse.NONE, compare=False)
    """For metrics. A task has the same outcome whether its own run or an earlier one has brought it about."""


@dataclass(frozen=True)
class Replaced:
    """The function asked for a tree to take the task's place, and the transaction committed."""

    tree: tuple[Payload, ...]
    receipt: ReceiptUse = field(default=ReceiptUse.NONE, compare=False)


@dataclass(frozen=True)
class Failed:
    """The task failed."""

    error: Mapping[str, Any]
    """The exception, as `payload.errors` writes it."""
    expected: bool = False
    """The exception is one of the task's `throws`: worth an INFO line, not an ERROR."""
    children: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Retried:
    """The task asked to run again."""

    delay: float
    error: Mapping[str, Any]
    message: Message | None = None
    """What to run next, if it differs from this run's message."""


@dataclass(frozen=True)
class EndedWithoutResult:
    """The task raised `Ignore` or `Reject`."""

    state: Progress
    """The state in which the task ends, and what `AsyncResult.info` shows of it."""
    reason: str
    requeue: bool = False
    """The task runs again: `Reject(requeue=True)`."""


@dataclass(frozen=True)
class ReceiptOfAnotherRun:
    """Another run of the same workflow id has left a receipt under the task's id. It may have run another task."""

    workflow_id: str
    run_id: str


@dataclass(frozen=True)
class ReceiptAnswer:
    """The answer to a job that only asks for a receipt."""

    is_done: bool


@dataclass(frozen=True)
class InDoubt:
    """The database does not say whether there is a receipt, so nobody can tell whether the task is done."""

    error: Mapping[str, Any]


@dataclass(frozen=True)
class DatabaseAway:
    """The run was rolled back because its database went away."""

    error: Mapping[str, Any]


Outcome = (
    Succeeded
    | Replaced
    | Failed
    | Retried
    | EndedWithoutResult
    | ReceiptOfAnotherRun
    | ReceiptAnswer
    | InDoubt
    | DatabaseAway
)
