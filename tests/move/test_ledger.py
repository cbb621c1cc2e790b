"""The proof of the move counts right: what the move loses or doubles is found, and what Celery does counts apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.move.ledger import NEW, OLD, Begun, Effect, Ledger, Promised

TASK = "2c89f3ac-ae0c-48ea-94e9-aa2e8293b001"
OTHER = "7d06b4d5-33a5-4f5a-8a5c-6b6a3f0f6b02"
ORDER, PID, BEGAN = 1, 4711, 1000.0
SENT = Promised(ORDER, "items", "one", OLD, sent=True)
NOT_SENT = replace(SENT, sent=False)
BY_US = replace(SENT, release=NEW)


def ledger(
    promised: Mapping[str, Promised],
    begun: list[tuple[str, str]],
    effects: list[tuple[str, str]],
    workflows: list[str] | None = None,
    killed: float | None = None,
    **more: bool,
) -> Ledger:
    """
    :param begun: task ids and releases of first attempts, and so `effects`.
    """
    return Ledger(
        promised,
        tuple(Begun(task_id, ORDER, 0, release, PID, BEGAN) for task_id, release in begun),
        tuple(Effect(task_id, ORDER, release) for task_id, release in effects),
        Counter(workflows or []),
        running=0,
        killed={} if killed is None else {PID: killed},
        **more,
    )


def test_a_task_that_ran_once_on_either_side_holds() -> None:
    promised = {TASK: SENT, OTHER: SENT}
    found = ledger(promised, [(TASK, OLD), (OTHER, NEW)], [(TASK, OLD), (OTHER, NEW)], [OTHER])
    assert (len(found.committed), len(found.started), len(found.runs)) == (2, 2, 2)
    assert not found.problems
    assert found.carried == Counter({"one": 1})


def test_a_task_without_an_effect_is_lost() -> None:
    assert ledger({TASK: SENT}, [], []).lost == {TASK}
    assert ledger({TASK: SENT}, [(TASK, NEW)], [], [TASK]).lost == {TASK}


def test_a_task_that_celery_never_published_is_not_lost_by_the_move() -> None:
    found = ledger({TASK: NOT_SENT}, [], [])
    assert not found.problems
    assert found.never_sent == {TASK}
    assert not found.committed


def test_a_task_that_ran_although_its_publish_was_cut_off_is_committed() -> None:
    found = ledger({TASK: NOT_SENT}, [(TASK, OLD)], [(TASK, OLD)])
    assert found.committed == {TASK}
    assert not found.problems


@pytest.mark.parametrize(
    "found",
    [
        ledger({TASK: SENT}, [(TASK, OLD), (TASK, NEW)], [(TASK, OLD), (TASK, NEW)]),
        ledger({TASK: SENT}, [(TASK, OLD), (TASK, NEW)], [(TASK, NEW)]),
        ledger({TASK: SENT}, [(TASK, NEW)], [(TASK, NEW), (TASK, NEW)]),
        ledger({TASK: SENT}, [(TASK, NEW)], [(TASK, NEW)], [TASK, TASK]),
    ],
    ids=["two effects", "one attempt on both sides", "two effects on one side", "two workflows"],
)
def test_a_task_that_ran_twice_is_doubled(found: Ledger) -> None:
    assert found.doubled == {TASK}
    assert found.problems


@pytest.mark.parametrize(("killed", "is_excused"), [(BEGAN + 1, True), (BEGAN + 60, False), (BEGAN - 1, False)])
def test_only_a_task_that_a_killed_worker_of_celery_held_may_run_again(killed: float, is_excused: bool) -> None:
    both = [(TASK, OLD), (TASK, NEW)]
    found = ledger({TASK: SENT}, both, both, killed=killed)
    assert found.doubled_by_celery == ({TASK} if is_excused else set())
    assert found.doubled == (set() if is_excused else {TASK})


def test_a_killed_worker_of_celery_excuses_no_loss() -> None:
    assert ledger({TASK: SENT}, [(TASK, OLD)], [], killed=BEGAN + 1).lost == {TASK}


@pytest.mark.parametrize(("publishes_once", "doubled"), [(True, {TASK}), (False, set())])
def test_our_call_may_reach_only_a_broker_without_marks_twice(publishes_once: bool, doubled: set[str]) -> None:
    found = ledger({TASK: BY_US}, [(TASK, OLD)] * 2, [(TASK, OLD)] * 2, publishes_once=publishes_once)
    assert found.doubled == doubled


def test_a_task_that_nobody_committed_or_that_got_other_arguments_is_strange() -> None:
    assert ledger({}, [(TASK, NEW)], [(TASK, NEW)]).strange == {TASK}
    assert ledger({TASK: replace(SENT, order_id=2)}, [(TASK, NEW)], [(TASK, NEW)]).strange == {TASK}
