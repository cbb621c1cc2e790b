"""How often a message is tried while the server is away: `retry`, `retry_policy`, and the settings of these names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..exceptions import InvalidCall

DEFAULTS: dict[str, Any] = {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2}
"""Celery's policy. One that says so, or nothing, bounds no tries: `ptemporal.dispatch_timeout` does."""
TAKEN = (*DEFAULTS, "retry_errors")
"""`retry_errors` adds to the errors of a connection, which are all that is tried again; there are no others here."""


@dataclass(frozen=True)
class Tries:
    """At most so many more tries after the first, and the seconds between them."""

    most: int | None = 0
    """None: as many as `ptemporal.dispatch_timeout` has room for."""
    first: float = 0
    step: float = 0.2
    longest: float = 1

    def pauses(self) -> Iterator[float]:
        """The pause before each further try."""
        pause, tried = self.first, 0
        while self.most is None or tried < self.most:
            yield pause
            pause, tried = min(pause + self.step, self.longest + self.first), tried + 1

    def policy(self) -> dict[str, Any]:
        """As Celery writes it."""
        values = (self.most, self.first, self.longest, self.step)
        return dict(zip(DEFAULTS, values, strict=True))


ONCE = Tries()


def tries_of(task: str, options: Mapping[str, Any], conf: Mapping[str, Any]) -> Tries | None:
    """What the call asks for, else what the settings do; None where neither says anything."""
    retry = options.get("retry")
    if not (conf["task_publish_retry"] if retry is None else retry):
        return ONCE
    configured = conf["task_publish_retry_policy"]
    asked = options.get("retry_policy") or {}
    if not asked and configured == DEFAULTS:
        return None
    if not isinstance(asked, Mapping):
        raise InvalidCall(f"task {task!r}: retry_policy={asked!r}; it takes a dict with {', '.join(TAKEN)}")
    policy = {**DEFAULTS, **configured, **asked}
    if unknown := policy.keys() - set(TAKEN):
        raise InvalidCall(
            f"task {task!r}: retry_policy has no {', '.join(sorted(unknown))!s}; it takes {', '.join(TAKEN)}"
        )
    most = policy["max_retries"]
    if most is not None and not _is_number(most):
        raise InvalidCall(f"task {task!r}: retry_policy has max_retries={most!r}; it takes a number, or None")
    return Tries(None if most is None else int(most), *(_seconds(task, policy, key) for key in PAUSES))


PAUSES = ("interval_start", "interval_step", "interval_max")


def _seconds(task: str, policy: Mapping[str, Any], key: str) -> float:
    value = policy[key]
    if not _is_number(value):
        raise InvalidCall(f"task {task!r}: retry_policy has {key}={value!r}; it takes a number of seconds")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
