"""Time limits of one run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Seconds that a job may run, counted from the moment that its handler begins."""

    soft: float | None = None
    """`SoftTimeLimitExceeded` is raised inside the handler's interruptible part."""
    hard: float | None = None
    """The job is stopped, and `run` raises `TimeLimitExceeded`."""
