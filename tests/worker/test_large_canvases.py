"""Canvases that are too large for one workflow: long chains, large groups, large results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pyramid_temporal_compat import chain, chord, group, shared_task
from pyramid_temporal_compat.exceptions import PayloadTooLarge, TaskRevokedError
from tests.parts import wait_until
from tests.worker.shop import Shop, add, describe, events, gates, seen, waits_at

PATIENCE = 60


@pytest.fixture
def conf(shop: Shop) -> Iterator[Callable[..., None]]:
    """Change the app's settings for one test."""
    changed: list[str] = []

    def change(**settings: Any) -> None:
        for name, value in settings.items():
            changed.append(f"ptemporal.{name}")
            shop.app.conf[f"ptemporal.{name}"] = value

    yield change
    for name in changed:
        del shop.app.conf[name]


@shared_task
def total(numbers: list[Any]) -> int:
    return len(numbers) if isinstance(numbers[0], str) else sum(numbers)


@shared_task
def fails(*args: Any) -> None:
    raise ValueError("on purpose")


@shared_task
def makes(size: int) -> str:
    return "x" * size


@shared_task
def length(text: str) -> int:
    return len(text)


@shared_task
def hears(request: Any, error: BaseException, traceback: str) -> None:
    seen["heard"].append((request.id, type(error).__name__))


_lock = threading.Lock()
_under_way: list[int] = []


@contextmanager
def counted() -> Iterator[None]:
    with _lock:
        _under_way.append(_under_way[-1] + 1 if _under_way else 1)
    yield
    with _lock:
        _under_way.append(_under_way[-1] - 1)


@shared_task
def counts(value: int) -> int:
    with counted():
        time.sleep(0.01)  # so that other tasks can run meanwhile
    return value


def workflows_of(result: Any) -> set[str]:
    ids = (
        [result.id, *(node.id for node in result._parents())]
        if not hasattr(result, "results")
        else [member.id for member in result]
    )
    return {id.rpartition("/")[0] or id for id in ids}


def test_a_long_chain_is_cut_into_workflows(shop: Shop, conf: Any) -> None:
    conf(canvas_batch=20)
    result = chain(add.si(0, 1), *(add.s(1) for _ in range(69)))()
    assert result.get(PATIENCE) == 70
    nodes = [result, *result._parents()]
    assert len(nodes) == 70
    assert [node.get(PATIENCE) for node in nodes[::-23]] == [1, 24, 47, 70]
    assert (nodes[5].state, nodes[-1].state) == ("SUCCESS", "SUCCESS")
    assert [child.id for child in nodes[50].children] == [nodes[49].id]  # also from one batch to the next
    workflows = workflows_of(result)
    assert len(workflows) == 5
    assert max(len(events(shop, workflow_id)) for workflow_id in workflows) < 150


def test_the_steps_after_a_failed_step_of_a_long_chain_fail_with_its_error(shop: Shop, conf: Any) -> None:
    conf(canvas_batch=10)
    result = chain(add.si(0, 1), fails.si(), *(add.s(1) for _ in range(48)))()
    with pytest.raises(ValueError, match="on purpose"):
        result.get(PATIENCE)
    nodes = [result, *result._parents()]
    wait_until(lambda: {node.state for node in nodes[:-1]} == {"FAILURE"}, message="a step has not ended")
    with pytest.raises(ValueError, match="on purpose"):
        nodes[3].get(PATIENCE, follow_parents=False)
    assert nodes[-1].state == "SUCCESS"


def test_a_step_that_waits_in_a_later_workflow_can_be_revoked(shop: Shop, conf: Any) -> None:
    conf(canvas_batch=5)
    result = chain(waits_at.si("lots"), *(add.si(1, number) for number in range(24)))()
    gates["lots"].reached()
    nodes = [result, *result._parents()][::-1]
    assert nodes[17].state == "PENDING"
    nodes[17].revoke()
    gates["lots"].open()
    with pytest.raises(TaskRevokedError):
        result.get(PATIENCE)
    assert [nodes[number].state for number in (0, 4, 16, 17)] == ["SUCCESS", "SUCCESS", "SUCCESS", "REVOKED"]


def test_a_long_chain_is_revoked_by_its_own_result(shop: Shop, conf: Any) -> None:
    conf(canvas_batch=5)
    result = chain(add.si(1, 1), waits_at.si("all"), *(add.si(1, number) for number in range(20)))()
    gates["all"].reached()
    result.revoke()
    wait_until(lambda: describe(shop, result.id).raw_description.workflow_extended_info.cancel_requested)
    gates["all"].open()
    with pytest.raises(TaskRevokedError):
        result.get(PATIENCE)
    wait_until(lambda: describe(shop, result.id).status.name == "CANCELED", message="the canvas has not ended")
    assert result.state == "REVOKED"


def test_a_large_group_is_revoked_in_all_its_workflows(shop: Shop, conf: Any) -> None:
    conf(canvas_batch=20, canvas_at_once=4)
    result = group(waits_at.s("group") for _ in range(120))()
    gates["group"].reached(4)
    result.revoke()
    gates["group"].open()
    values = result.get(timeout=PATIENCE, propagate=False)
    ended = [member.state for member in result]
    assert ended.count("SUCCESS") <= 8
    assert ended.count("REVOKED") == 120 - ended.count("SUCCESS")
    assert {type(value).__name__ for value in values} == {"str", "TaskRevokedError"}


def test_a_large_group_runs_no_more_tasks_at_a_time_than_allowed(shop: Shop, conf: Any) -> None:
    conf(canvas_batch=20, canvas_at_once=6)
    _under_way.clear()
    result = (group(counts.s(number) for number in range(120)) | total.s())()
    assert result.get(PATIENCE) == sum(range(120))
    assert 1 < max(_under_way) <= 6


def test_a_member_that_waits_for_its_eta_does_not_block_other_members(shop: Shop, conf: Any) -> None:
    conf(canvas_at_once=1)
    result = group(add.s(1, 1).set(countdown=3600), add.s(2, 2))()
    assert result.results[1].get(PATIENCE) == 4
    assert result.results[0].state == "PENDING"
    shop.app.control.revoke(result.id)
    wait_until(lambda: result.results[0].state == "REVOKED")


def test_a_group_of_1500_and_its_chord(shop: Shop) -> None:
    result = (group(add.s(number, 1) for number in range(1500)) | total.s())()
    assert result.get(PATIENCE) == sum(range(1501))
    assert result.parent.get(timeout=PATIENCE) == list(range(1, 1501))
    workflows = [result.id, *workflows_of(result.parent)]
    assert len(workflows) == 4
    histories = [describe(shop, workflow_id).raw_description.workflow_execution_info for workflow_id in workflows]
    assert max(history.history_length for history in histories) < 2500
    assert max(history.history_size_bytes for history in histories) < 2_000_000


@pytest.mark.parametrize("batch", [250, 8])
def test_a_body_with_too_many_bytes_of_arguments_fails_and_says_how_many(shop: Shop, conf: Any, batch: int) -> None:
    conf(canvas_batch=batch)
    result = chord([makes.s(100_000) for _ in range(30)], total.s().on_error(hears.s()))()
    with pytest.raises(
        PayloadTooLarge, match=r"30 results of 3,00\d,\d+ bytes together.*more than the 2,093,056 bytes"
    ):
        result.get(PATIENCE)
    assert [len(text) for text in result.parent.get(timeout=PATIENCE)] == [100_000] * 30
    wait_until(lambda: seen["heard"] == [(result.id, "PayloadTooLarge")], message="no errback")


def test_a_body_that_takes_no_results_is_not_too_large(shop: Shop, conf: Any) -> None:
    conf(canvas_batch=8)
    result = chord([makes.s(200_000) for _ in range(20)], group(add.si(1, number) for number in range(20)))()
    assert result.get(timeout=PATIENCE) == list(range(1, 21))


def test_a_group_may_have_large_results(shop: Shop, conf: Any) -> None:
    conf(canvas_batch=10)
    result = group(makes.s(200_000) for _ in range(30))()
    assert [len(text) for text in result.get(timeout=PATIENCE)] == [200_000] * 30


def test_a_workflow_whose_history_is_full_begins_no_more_tasks(
    shop: Shop, conf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyramid_temporal_compat.worker.workflows.canvas_limits.HISTORY_ROOM", 1_500_000)
    conf(canvas_at_once=4)
    result = group(makes.s(100_000) for _ in range(30))()
    values = result.get(timeout=PATIENCE, propagate=False)
    kept = [value for value in values if isinstance(value, str)]
    refused = [value for value in values if isinstance(value, PayloadTooLarge)]
    assert 8 <= len(kept) <= 19
    assert len(refused) == 30 - len(kept)
    assert "make ptemporal.canvas_batch smaller" in str(refused[0])


def test_a_large_result_goes_to_many_members(shop: Shop) -> None:
    """All copies together are larger than one message to the server may be."""
    result = chain(makes.s(1_000_000), group(length.s() for _ in range(9)))()
    assert result.get(timeout=PATIENCE) == [1_000_000] * 9


def test_a_canvas_too_large_to_start_is_refused_at_the_call(shop: Shop, conf: Any) -> None:
    conf(payload_limit=20_000)
    with pytest.raises(PayloadTooLarge, match=r"the canvas group of 4000: .* takes \d\d,\d{3} bytes, compressed"):
        group(add.s(number, number) for number in range(4000))()


def test_a_canvas_of_too_many_tasks_is_refused_at_the_call(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyramid_temporal_compat.canvas.planner.MOST", 20)
    with pytest.raises(PayloadTooLarge, match="has 21 tasks, and the limit is 20; split it into several canvases"):
        group(add.s(number, number) for number in range(21))()


def test_a_canvas_too_large_to_unpack_is_refused_at_the_call(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyramid_temporal_compat.canvas.planner.MOST_BYTES", 100_000)
    with pytest.raises(PayloadTooLarge, match="bytes before it is compressed, and the limit for that is 100,000"):
        group(length.s("x" * 1000) for _ in range(100))()


def test_a_replacement_needs_no_more_places_than_there_are(shop: Shop, conf: Any) -> None:
    conf(canvas_at_once=1)
    assert chain(becomes.s(3), add.s(1))().get(PATIENCE) == 5


@shared_task(bind=True)
def becomes(self: Any, value: int) -> Any:
    return self.replace(add.s(value, 1))


def test_the_expiry_of_a_later_step_counts_from_its_turn(shop: Shop) -> None:
    result = chain(waits_at.si("expires"), add.si(1, 1).set(expires=0.5), add.s(1))()
    gates["expires"].reached()
    later = time.monotonic() + 0.6
    wait_until(lambda: time.monotonic() > later)
    gates["expires"].open()
    assert result.get(PATIENCE) == 3
