"""Back-off: how long to wait before something is tried again, and how often a message is sent.

`exponential_pause` serves every part that doubles its pauses: a task's `retry_backoff`, the dispatcher, the relay, a
worker whose database is away, and the pool that replaces its children. `PublishRetry` holds what `retry`,
`retry_policy` and the settings `task_publish_retry` and `task_publish_retry_policy` say about sending a message.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..exceptions import InvalidCall

MOST_DOUBLINGS = 64
"""A longest pause is reached long before. Without a limit, many attempts would overflow the float."""

DEFAULTS: dict[str, Any] = {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2}
"""Celery's default policy. A policy that equals it, like none at all, does not limit how often a message is sent:
`ptemporal.dispatch_timeout` does."""
KEYS = (*DEFAULTS, "retry_errors")
"""The keys of a policy. `retry_errors` has no effect: in Celery it adds to the connection errors, which are the only
ones after which a message is sent again here."""
PAUSES = ("interval_start", "interval_step", "interval_max")


def exponential_pause(first: float, failures: int, longest: float) -> float:
    """Return the pause in seconds after `failures` failed attempts: `first`, doubled each time, at most `longest`.

    The first attempt's failure counts as 0.
    """
    doubled: float = first * 2 ** min(max(failures, 0), MOST_DOUBLINGS)
    return min(doubled, longest)


def exponential_pauses(first: float, longest: float) -> Iterator[float]:
    """Yield the pause before each further attempt, without end."""
    return (exponential_pause(first, failures, longest) for failures in itertools.count())


@dataclass(frozen=True)
class PublishRetry:
    """How often a message is sent again after the first attempt, and the pauses in seconds between the attempts."""

    most: int | None = 0
    """None: as often as `ptemporal.dispatch_timeout` allows."""
    first: float = 0
    step: float = 0.2
    longest: float = 1

    def pauses(self) -> Iterator[float]:
        """Yield the pause before each further attempt."""
        pause, tried = self.first, 0
        while self.most is None or tried < self.most:
            yield pause
            pause, tried = min(pause + self.step, self.longest + self.first), tried + 1

    def policy(self) -> dict[str, Any]:
        """Return the policy as Celery writes it."""
        values = (self.most, self.first, self.longest, self.step)
        return dict(zip(DEFAULTS, values, strict=True))


SEND_ONCE = PublishRetry()


def publish_retry_of(task: str, options: Mapping[str, Any], conf: Mapping[str, Any]) -> PublishRetry | None:
    """Return what the call asks for, or else what the settings say. Return None if neither says anything."""
    retry = options.get("retry")
    if not (conf["task_publish_retry"] if retry is None else retry):
        return SEND_ONCE
    configured = conf["task_publish_retry_policy"]
    asked = options.get("retry_policy") or {}
    if not asked and configured == DEFAULTS:
        return None
    if not isinstance(asked, Mapping):
        raise InvalidCall(f"task {task!r}: retry_policy={asked!r}; it takes a dict with {', '.join(KEYS)}")
    policy = {**DEFAULTS, **configured, **asked}
    if unknown := policy.keys() - set(KEYS):
        raise InvalidCall(
            f"task {task!r}: retry_policy has no {', '.join(sorted(unknown))!s}; it takes {', '.join(KEYS)}"
        )
    most = policy["max_retries"]
    if most is not None and not _is_number(most):
        raise InvalidCall(f"task {task!r}: retry_policy has max_retries={most!r}; it takes a number, or None")
    return PublishRetry(None if most is None else int(most), *(_seconds(task, policy, key) for key in PAUSES))


def _seconds(task: str, policy: Mapping[str, Any], key: str) -> float:
    value = policy[key]
    if not _is_number(value):
        raise InvalidCall(f"task {task!r}: retry_policy has {key}={value!r}; it takes a number of seconds")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
