"""The plan of slices: how many of the ready members run in one activity."""

from __future__ import annotations

from pyramid_temporal_compat.worker.workflows.slice_plan import (
    MOST,
    MOST_BYTES,
    OF_AIM,
    SPREAD,
    RunTimes,
    plan,
)

AIM = 0.25


def sizes(count: int, times: RunTimes, task: str = "add", size: int = 1000) -> list[int]:
    return [len(part) for part in plan([[(task, size)]] * count, times)]


def measured(seconds: float, task: str = "add") -> RunTimes:
    times = RunTimes(AIM)
    times.add(task, seconds)
    return times


def test_each_member_is_in_one_slice_in_the_order_of_the_members() -> None:
    times = measured(0.004)
    parts = plan([[(("add", "mul", "new")[place % 3], 1000)] for place in range(100)], times)
    assert [place for part in parts for place in part] == list(range(100))


def test_a_few_members_of_an_unknown_task_run_side_by_side() -> None:
    assert sizes(SPREAD, RunTimes(AIM)) == [1] * SPREAD


def test_many_members_of_an_unknown_task_are_spread_over_many_places() -> None:
    found = sizes(100, RunTimes(AIM))
    assert len(found) >= SPREAD
    assert max(found) <= 100 / SPREAD


def test_the_parts_of_a_large_group_spread_over_these_places_together() -> None:
    parts = plan([[("add", 1000)]] * 250, RunTimes(AIM), beside=4)
    assert 4 * len(parts) >= SPREAD
    assert max(len(part) for part in parts) == 64


def test_short_tasks_share_a_slice_even_if_there_are_few() -> None:
    assert sizes(8, measured(0.001)) == [8]


def test_a_slice_of_short_tasks_is_not_filled_up_to_the_aim() -> None:
    assert max(sizes(10_000, measured(0.005))) == int(AIM * OF_AIM / 0.005)


def test_a_task_that_takes_longer_than_the_aim_is_never_in_a_slice() -> None:
    assert sizes(1000, measured(2.0)) == [1] * 1000


def test_a_mean_is_taken_of_all_runs() -> None:
    times = measured(0.3)
    assert sizes(100, times) == [1] * 100
    for _ in range(99):
        times.add("add", 0.001)
    assert max(sizes(100, times)) > 4


def test_a_slice_has_a_largest_number_of_members_and_of_bytes() -> None:
    assert max(sizes(10_000, measured(0.0001))) == MOST
    assert max(sizes(1000, measured(0.0001), size=MOST_BYTES // 4)) == 4


def test_no_members_make_no_slices() -> None:
    assert plan([], RunTimes(AIM)) == []


def test_the_steps_of_a_chain_stay_together_and_count_among_the_members() -> None:
    chains = [[("add", 1000)] * 3] * 40
    parts = plan(chains, measured(0.0001))
    assert [place for part in parts for place in part] == list(range(40))
    assert max(len(part) for part in parts) == MOST // 3
    assert [len(part) for part in plan(chains, measured(0.05))] == [1] * 40
