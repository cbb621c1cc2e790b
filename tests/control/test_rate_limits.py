"""How rate limits are written, and when each task starts."""

from __future__ import annotations

import pytest

from pyramid_temporal_compat.control.limits import LONGEST_WAIT, TURN_LASTS, Rate, interval_of


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [
        ("10/s", 0.1),
        ("4/m", 15),
        ("100/h", 36),
        (2, 0.5),
        (0.5, 2),
        ("5", 0.2),
        (" 2 / m ", 30),
        (0, 0),
        (None, 0),
        ("", 0),
    ],
)
def test_a_limit_is_written_as_celery_writes_it(rate: object, seconds: float) -> None:
    assert interval_of(rate) == pytest.approx(seconds)


@pytest.mark.parametrize("rate", ["fast", "5/d", "-1/s", "nan", "inf/s", "/s"])
def test_an_invalid_limit_is_an_error(rate: str) -> None:
    with pytest.raises(ValueError, match="is not a rate limit; give a number a second, or a text like"):
        interval_of(rate)


def test_tasks_start_one_interval_apart_in_the_order_in_which_they_came() -> None:
    rate = Rate(10)
    assert rate.wait("a", 1000) == 0
    assert rate.wait("b", 1001) == 9
    assert rate.wait("c", 1001) == 19
    assert rate.wait("d", 1002) == 28
    assert rate.wait("b", 1010) == 0
    assert rate.wait("e", 1010) == 30  # not before the waiting tasks
    assert rate.wait("c", 1020) == 0
    assert rate.wait("d", 1030) == 0
    assert rate.wait("e", 1040) == 0


def test_a_task_that_asks_early_keeps_its_turn() -> None:
    rate = Rate(10)
    rate.wait("a", 1000)
    assert rate.wait("b", 1000) == 10
    assert rate.wait("b", 1004) == 6
    assert rate.wait("c", 1004) == 16


def test_a_start_that_came_late_does_not_slow_down_the_next() -> None:
    rate = Rate(10)
    rate.wait("a", 1000)
    rate.wait("b", 1000)
    rate.wait("c", 1000)
    assert rate.wait("b", 1012) == 0
    assert rate.wait("c", 1020) == 0


def test_quiet_times_are_not_saved_up() -> None:
    rate = Rate(10)
    rate.wait("a", 1000)
    assert rate.wait("b", 2000) == 0
    assert rate.wait("c", 2000) == 10


def test_the_turn_of_a_task_that_another_worker_took_is_dropped() -> None:
    rate = Rate(10)
    rate.wait("a", 1000)
    rate.wait("gone", 1000)
    assert rate.wait("b", 1010 + max(TURN_LASTS, 10)) == 0


def test_a_task_with_a_late_turn_is_offered_again_earlier() -> None:
    rate = Rate(3600)
    rate.wait("a", 1000)
    assert rate.wait("b", 1000) == LONGEST_WAIT


def test_many_waiting_tasks_are_offered_again_less_often() -> None:
    rate = Rate(1)
    rate.wait("first", 1000)
    waits = [rate.wait(str(number), 1000) for number in range(2000)]
    assert max(waits) == pytest.approx(200, rel=0.01)
