"""The job that the event loop hands to the pool, and the notes that the pool sends while the job runs.

Frozen and picklable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..client.attempt_counts import AttemptCounts
from ..message.message import Message
from ..payload import Payload


@dataclass(frozen=True)
class Job:
    """One run of a task, for the pool to make."""

    message: Message
    earlier: AttemptCounts
    """How the earlier attempts ended."""
    hostname: str
    redelivered: bool = False
    """Whether the task was begun before, and given back by `Reject` or by a worker that was lost."""
    previous_results: tuple[Payload, ...] = ()
    """Results of earlier tasks, which `message.joins` puts in front of the arguments."""
    workflow_id: str | None = None
    failed_with: Exception | None = None
    """The error that ended the run from outside. If set, only the hooks that follow a failure run."""
    attempt: int = 1
    """Attempt number, as the server counts it."""
    namespace: str = ""
    run_id: str = ""
    """The run id of the workflow, or of the standalone activity."""
    trace: Mapping[str, str] = field(default_factory=dict)
    """The trace of the activity, as OpenTelemetry writes it. The run belongs to it."""
    only_asks_for_receipt: bool = False
    """The function is not called: the only question is whether the task has a receipt."""
    known_runs: Mapping[str, bool] = field(default_factory=dict)
    """Other runs of the workflow id, and whether each is a run of this same task, so that its receipt counts."""

    @property
    def execution_id(self) -> str:
        """The id of the workflow, or of the standalone activity, which is the task's."""
        return self.workflow_id or self.message.id

    @property
    def retries(self) -> int:
        """Return how often the task was retried before this run."""
        return self.earlier.retries

    @property
    def is_single(self) -> bool:
        """Return whether the task has a workflow to itself, or none: no other activities are pending with its own."""
        return self.execution_id == self.message.id


@dataclass(frozen=True)
class Began:
    """A note: the pool has begun the job. `inspect active` shows these values."""

    pid: int
    at: float
    """In seconds since the epoch."""


@dataclass(frozen=True)
class Progress:
    """A note: the state that `update_state` has set while the task runs."""

    state: str
    meta: Any
