"""Slices on a real server: members of a canvas run in one activity, and nothing that a user can see changes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from temporalio.client import Client

from pyramid_temporal_compat import chord, group, maybe_signature, shared_task
from pyramid_temporal_compat.control.waiting_tasks import purge
from pyramid_temporal_compat.exceptions import Ignore, SoftTimeLimitExceeded, TaskRevokedError
from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.worker.workflows import slice_plan
from tests.parts import wait_until
from tests.worker.shop import Shop, WorkerThread, add, describe, event_names, events, gates, note, seen, waits_at, write

PATIENCE = 30
MANY = 40


@pytest.fixture(autouse=True)
def in_one_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan as if the workers had one place, so that a few members share a slice."""
    monkeypatch.setattr(slice_plan, "SPREAD", 1)


@shared_task
def adds_all(values: list[int]) -> int:
    return sum(values)


@shared_task(bind=True, max_retries=5)
def later(self: Any, value: int, countdown: float = 0.0) -> int:
    if self.request.retries < 2:
        seen["retried"].append(self.request.retries)
        raise self.retry(countdown=countdown, exc=LookupError("not yet"))
    return value


@shared_task(bind=True, max_retries=5)
def later_with_more(self: Any, value: int) -> int:
    if self.request.retries < 1:
        raise self.retry(args=(value + 100,), countdown=0)
    return value


@shared_task
def fails_with(value: int) -> None:
    raise ValueError("on purpose", value)


@shared_task
def ignores(value: int) -> None:
    raise Ignore


@shared_task
def large(value: int) -> str:
    write(f"large {value}")
    return str(value) * 100_000


@shared_task(soft_time_limit=0.3)
def too_slow(value: int) -> str:
    try:
        gates["never opened"].pass_through()
    except SoftTimeLimitExceeded:
        return f"stopped {value}"
    return "not stopped"


@shared_task(bind=True)
def becomes_a_group(self: Any, signature: Any) -> Any:
    return self.replace(maybe_signature(signature))


@shared_task(bind=True)
def reports(self: Any, gate: str) -> str:
    self.update_state(state="HALFWAY", meta={"gate": gate})
    gates[gate].pass_through()
    return "done"


@shared_task(rate_limit="20/s")
def limited(value: int) -> int:
    return value


@shared_task
def short(value: int) -> int:
    time.sleep(0.005)  # it stands for work
    return value


def slices_of(shop: Shop, result: Any) -> list[Any]:
    """Return the events with which the workflow has asked for slices."""
    scheduled = (event.activity_task_scheduled_event_attributes for event in events(shop, result.id))
    return [asked for asked in scheduled if asked.activity_type.name == wire.SLICE]


def test_members_run_in_slices_and_keep_what_is_theirs(shop: Shop) -> None:
    result = group(add.s(number, number) for number in range(MANY))()
    assert result.get(timeout=PATIENCE) == [2 * number for number in range(MANY)]
    assert slices_of(shop, result)
    assert "ACTIVITY_TASK_TIMED_OUT" not in event_names(shop, result.id)
    member = shop.app.AsyncResult(result[7].id)
    assert (member.state, member.result, member.args, member.kwargs, member.name) == (
        "SUCCESS",
        14,
        [7, 7],
        {},
        add.name,
    )
    assert (member.queue, member.retries, bool(member.date_done), bool(member.worker)) == (shop.queue, 0, True, True)
    assert len({each.id for each in result}) == MANY


def test_the_web_ui_tells_what_a_slice_ran_and_how_each_ended(shop: Shop, roomy: None) -> None:
    result = group([*(add.s(number, 1) for number in range(4)), fails_with.s(1)])()
    result.get(timeout=PATIENCE, propagate=False)
    (event,) = [
        event for event in events(shop, result.id) if event.HasField("activity_task_scheduled_event_attributes")
    ]
    summary = json.loads(event.user_metadata.summary.data)
    assert summary.startswith(f"slice of 5: {add.name}(0, 1), {add.name}(1, 1), ")
    (done,) = [each for each in events(shop, result.id) if each.HasField("activity_task_completed_event_attributes")]
    told = json.loads(done.activity_task_completed_event_attributes.result.payloads[0].data)
    assert [(each["id"], each["state"]) for each in told["members"]] == [
        *((member.id, "SUCCESS") for member in result[:4]),
        (result[4].id, "FAILURE"),
    ]


def test_failed_ignored_and_replaced_members_end_as_they_do_alone(shop: Shop) -> None:
    calls = [add.s(1, 1), fails_with.s(2), ignores.s(3), becomes_a_group.s(add.s(4, 4)), add.s(5, 5)]
    result = group(calls)()
    one, failed, ignored, replaced, five = result
    assert (one.get(PATIENCE), replaced.get(PATIENCE), five.get(PATIENCE)) == (2, 8, 10)
    with pytest.raises(ValueError, match="on purpose") as raised:
        failed.get(PATIENCE)
    assert raised.value.args == ("on purpose", 2)
    assert "fails_with" in failed.traceback
    wait_until(lambda: ignored.state == "IGNORED")
    wait_until(lambda: event_names(shop, result.id)[-1] == "WORKFLOW_EXECUTION_FAILED")
    assert slices_of(shop, result)


def test_a_chord_and_its_error_callback_see_the_ends_in_slices(shop: Shop) -> None:
    assert chord([add.s(number, number) for number in range(MANY)])(adds_all.s()).get(PATIENCE) == MANY * (MANY - 1)
    failed = chord([*(add.s(number, number) for number in range(5)), fails_with.s(1)])(adds_all.s())
    with pytest.raises(ValueError, match="on purpose"):
        failed.get(PATIENCE)
    wait_until(lambda: event_names(shop, failed.id)[-1] == "WORKFLOW_EXECUTION_FAILED")


def test_a_member_that_retries_leaves_its_slice(shop: Shop, roomy: None) -> None:
    result = group([add.s(1, 1), later.s(5), later_with_more.s(6), add.s(2, 2)])()
    assert result.get(timeout=PATIENCE) == [2, 5, 106, 4]
    assert sorted(seen["retried"]) == [0, 1]
    assert shop.app.AsyncResult(result[1].id).retries == 2
    assert len(slices_of(shop, result)) == 1


def test_a_member_that_waits_for_its_retry_shows_it(shop: Shop) -> None:
    result = group([add.s(1, 1), later.s(5, 60.0), add.s(2, 2)])()
    assert result[0].get(PATIENCE) == 2
    wait_until(lambda: result[1].state == "RETRY")
    assert "not yet" in str(result[1].result)
    assert result[1].retries == 1
    assert result[2].get(PATIENCE) == 4
    result[1].revoke()
    with pytest.raises(TaskRevokedError):
        result[1].get(PATIENCE)


def test_a_long_member_holds_no_other_member_back(shop: Shop) -> None:
    result = group([add.s(1, 1), waits_at.s("long"), *(add.s(number, 1) for number in range(6))])()
    gates["long"].reached()
    assert [member.get(PATIENCE) for member in result[2:]] == [number + 1 for number in range(6)]
    assert result[0].get(PATIENCE) == 2
    wait_until(lambda: result[1].state == "STARTED")
    assert result[1].worker
    gates["long"].open()
    assert result[1].get(PATIENCE) == "done"


def test_long_members_run_side_by_side(shop: Shop) -> None:
    result = group(waits_at.s("side by side") for _ in range(6))()
    gates["side by side"].reached(6)
    wait_until(lambda: [member.state for member in result] == ["STARTED"] * 6)
    gates["side by side"].open()
    assert result.get(timeout=PATIENCE) == ["done"] * 6
    assert len(shop.lines()) == 6


def test_a_member_tells_its_progress(shop: Shop) -> None:
    result = group([add.s(1, 1), reports.s("progress"), add.s(2, 2)])()
    gates["progress"].reached()
    wait_until(lambda: result[1].state == "HALFWAY")
    assert result[1].info == {"gate": "progress"}
    gates["progress"].open()
    assert result.get(timeout=PATIENCE) == [2, "done", 4]


def test_large_results_arrive_and_are_made_once(shop: Shop) -> None:
    result = group([add.s(1, 1), large.s(3), add.s(2, 2), large.s(4)])()
    assert [len(str(each)) for each in result.get(timeout=PATIENCE)] == [1, 100_000, 1, 100_000]
    assert sorted(shop.lines()) == ["large 3", "large 4"]
    assert len(result[1].get()) == 100_000


def test_members_keep_their_own_time_limits(shop: Shop) -> None:
    result = group([add.s(1, 1), too_slow.s(1), add.s(2, 2), too_slow.s(2)])()
    assert result.get(timeout=PATIENCE) == [2, "stopped 1", 4, "stopped 2"]


def test_a_revoked_member_that_waits_in_a_slice_does_not_run(shop: Shop) -> None:
    later = f"{shop.queue}-later"
    members = [note.s(f"member {number}").set(queue=later) for number in range(5)]
    result = group([add.s(1, 1).set(queue=shop.queue), *members])()
    wait_until(lambda: slices_of(shop, result))
    result[3].revoke()
    with pytest.raises(TaskRevokedError):
        result[3].get(PATIENCE)
    with WorkerThread(shop.app, later):
        for member in (*result[1:3], *result[4:]):
            member.get(PATIENCE)
    assert sorted(shop.lines()) == [f"member {number}" for number in (0, 1, 3, 4)]


def test_terminating_a_running_member_ends_that_member_alone(shop: Shop) -> None:
    result = group([add.s(1, 1), waits_at.s("terminated"), add.s(2, 2)])()
    gates["terminated"].reached()
    shop.app.control.revoke(result[1].id, terminate=True)
    with pytest.raises(TaskRevokedError):
        result[1].get(PATIENCE)
    assert (result[0].get(PATIENCE), result[2].get(PATIENCE)) == (2, 4)


def test_a_revoked_canvas_runs_its_members_to_their_ends_and_begins_no_more(shop: Shop) -> None:
    result = group([waits_at.s("canvas"), *(note.s("never") for _ in range(3))])()
    gates["canvas"].reached()
    wait_until(lambda: result[1].state == "SUCCESS")  # given back, and run elsewhere
    result.revoke()
    gates["canvas"].open()
    wait_until(lambda: event_names(shop, result.id)[-1].startswith("WORKFLOW_EXECUTION_"))
    assert result[0].state in ("SUCCESS", "REVOKED")


def test_members_with_a_rate_limit_leave_the_slice(shop: Shop) -> None:
    result = group(limited.s(number) for number in range(10))()
    assert result.get(timeout=PATIENCE) == list(range(10))


def test_purge_counts_the_members_of_slices_that_wait(shop: Shop) -> None:
    nowhere = f"{shop.queue}-nowhere"
    result = group([add.s(1, 1).set(queue=shop.queue), *(add.s(2, 2).set(queue=nowhere) for _ in range(6))])()
    assert result[0].get(PATIENCE) == 2

    async def ask(client: Client) -> int:
        return await purge(client, [shop.queue])

    assert wait_until(lambda: shop.app.temporal.call(ask, 20)) == 6
    for member in result[1:]:
        with pytest.raises(TaskRevokedError):
            member.get(PATIENCE)


def test_without_the_setting_each_member_has_an_activity(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shop.app.conf, "ptemporal.slice", 0)
    result = group(add.s(number, number) for number in range(MANY))()
    assert result.get(timeout=PATIENCE) == [2 * number for number in range(MANY)]
    assert not slices_of(shop, result)


def test_a_worker_that_allows_no_loss_takes_no_slices(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shop.app.conf, "ptemporal.lost_worker_attempts", 1)
    result = group(add.s(number, number) for number in range(6))()
    assert result.get(timeout=PATIENCE) == [2 * number for number in range(6)]
    scheduled = [event.activity_task_scheduled_event_attributes.activity_id for event in events(shop, result.id)]
    assert {member.id for member in result} <= set(scheduled)
    assert len(slices_of(shop, result)) == 1


def test_a_signal_that_is_no_report_has_no_effect(shop: Shop) -> None:
    result = group([waits_at.s("signals"), add.s(1, 1)])()
    gates["signals"].reached()

    async def signal(client: Client) -> None:
        for value in (None, 3, {"members": 7}, {"members": [], "slice": "ptemporal.slice:99"}):
            await client.get_workflow_handle(result.id).signal(wire.SLICE, value)
        await client.get_workflow_handle(result.id).signal(wire.SLICE)

    shop.app.temporal.call(signal, 20)
    gates["signals"].open()
    assert result.get(timeout=PATIENCE) == ["done", 2]
    assert describe(shop, result.id).id == result.id
