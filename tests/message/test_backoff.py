"""The pauses between attempts."""

from __future__ import annotations

import itertools

from pyramid_temporal_compat.message.backoff import exponential_pause, exponential_pauses


def test_pause_doubles_up_to_the_longest() -> None:
    assert [exponential_pause(1.0, failures, 10) for failures in range(6)] == [1, 2, 4, 8, 10, 10]
    assert list(itertools.islice(exponential_pauses(0.05, 0.3), 4)) == [0.05, 0.1, 0.2, 0.3]


def test_pause_after_very_many_attempts_is_the_longest() -> None:
    assert exponential_pause(0.25, 100_000, 30.0) == 30.0


def test_pause_before_any_failure_is_the_first() -> None:
    assert exponential_pause(1.0, -1, 30.0) == 1.0
