"""Steps of a chain in one slice, on a real server: the next step begins once the server knows how this one ended."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from pyramid_temporal_compat import chain, chord, group, maybe_signature, shared_task
from pyramid_temporal_compat.client.members import describe_tree
from pyramid_temporal_compat.client.task_actions import signal_members
from pyramid_temporal_compat.control.waiting_tasks import waiting_members
from pyramid_temporal_compat.exceptions import Ignore, TaskRevokedError
from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.observe.retries import retry
from pyramid_temporal_compat.observe.task_details import read_task
from tests.histories.record import lost_worker, make_app
from tests.parts import wait_until
from tests.worker.shop import Shop, WorkerThread, add, event_names, events, gates, note, seen, write

PATIENCE = 30


@shared_task
def adds_at(value: int, gate: str) -> int:
    write(f"{gate} {value}")
    gates[gate].pass_through()
    return value + 1


@shared_task(bind=True, max_retries=3)
def once_more(self: Any, value: int) -> int:
    if self.request.retries < 1:
        raise self.retry(countdown=0, exc=LookupError("not yet"))
    return value + 10


@shared_task
def fails_at(value: int) -> None:
    raise ValueError("on purpose", value)


@shared_task
def ignores(value: int) -> None:
    raise Ignore


@shared_task(bind=True)
def becomes(self: Any, value: int, signature: Any) -> Any:
    return self.replace(maybe_signature(signature))


@shared_task(bind=True)
def tells(self: Any, value: int) -> list[Any]:
    request = self.request
    return [value, list(request.args), request.parent_id, request.root_id]


def activities(shop: Shop, result: Any) -> list[str]:
    """Return the names of the activities that the workflow of a canvas has asked for."""
    scheduled = (event.activity_task_scheduled_event_attributes for event in events(shop, result.id.partition("/")[0]))
    return [asked.activity_type.name for asked in scheduled if asked.activity_id]


def test_a_chain_of_short_steps_is_one_activity(shop: Shop, roomy: None) -> None:
    result = chain(add.s(0, 1), *(add.s(1) for _ in range(19)))()
    assert result.get(timeout=PATIENCE) == 20
    assert activities(shop, result) == [wire.SLICE]
    steps = []
    while result is not None:
        steps.append(result)
        result = result.parent
    assert [step.result for step in reversed(steps)] == list(range(1, 21))
    assert (steps[3].args, steps[3].name, steps[3].queue) == ([1], add.name, shop.queue)
    assert steps[3].date_done is not None
    assert steps[3].worker


def test_a_step_sees_the_result_before_it_and_its_place(shop: Shop, roomy: None) -> None:
    result = chain(add.s(1, 1), tells.s(), tells.si(7))()
    value = result.get(timeout=PATIENCE)
    assert value == [7, [7], result.parent.id, result.parent.parent.id]
    first = result.parent.get(timeout=PATIENCE)
    assert first == [2, [2], result.parent.parent.id, result.parent.parent.id]
    assert activities(shop, result) == [wire.SLICE]


def test_the_end_of_a_step_can_be_seen_while_the_next_step_runs(shop: Shop) -> None:
    result = chain(add.s(1, 1), adds_at.s("seen"), add.s(1))()
    gates["seen"].reached()
    assert (result.parent.parent.state, result.parent.parent.result) == ("SUCCESS", 2)  # and not a moment later
    wait_until(lambda: result.parent.state == "STARTED")
    assert result.state == "PENDING"
    gates["seen"].open()
    assert result.get(timeout=PATIENCE) == 4


def test_a_long_step_has_the_activity_for_itself(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shop.app.conf, "ptemporal.slice", 1)  # time for the long step to begin in the first slice
    result = chain(add.s(1, 1), adds_at.s("long"), add.s(1), add.s(1))()
    gates["long"].reached()
    wait_until(lambda: "WORKFLOW_EXECUTION_SIGNALED" in event_names(shop, result.id.partition("/")[0]))
    gates["long"].open()
    assert result.get(timeout=PATIENCE) == 5
    assert shop.lines() == ["long 2"]
    assert activities(shop, result)[0] == wire.SLICE


def test_steps_that_retry_fail_or_are_replaced_end_as_they_do_alone(shop: Shop) -> None:
    assert chain(add.s(1, 1), once_more.s(), add.s(1))().get(timeout=PATIENCE) == 13
    assert chain(add.s(1, 1), becomes.s(add.s(4, 4)), add.s(1))().get(timeout=PATIENCE) == 9
    failed = chain(add.s(1, 1), fails_at.s(), note.si("never"))()
    with pytest.raises(ValueError, match="on purpose") as raised:
        failed.get(timeout=PATIENCE)
    assert raised.value.args == ("on purpose", 2)
    wait_until(lambda: failed.state == "FAILURE")  # a moment after the step before it
    assert (failed.parent.state, failed.parent.parent.state) == ("FAILURE", "SUCCESS")
    ignored = chain(add.s(1, 1), ignores.s(), note.si("never"))()
    wait_until(lambda: ignored.parent.state == "IGNORED")
    wait_until(lambda: event_names(shop, ignored.id.partition("/")[0])[-1].startswith("WORKFLOW_EXECUTION_"))
    assert shop.lines() == []
    never = shop.app.temporal.call(lambda client: read_task(client, shop.app, ignored.id), 20)
    assert never is not None
    assert never.attempts == []


def test_an_error_callback_and_a_link_get_what_they_need(shop: Shop) -> None:
    told = note.si("told")
    failed = chain(add.s(1, 1), fails_at.s(), add.s(1)).on_error(told)()
    with pytest.raises(ValueError, match="on purpose"):
        failed.get(timeout=PATIENCE)
    wait_until(lambda: "told" in shop.lines())
    linked = add.s(1)
    linked.link(note.si("linked"))
    assert chain(add.s(1, 1), linked, add.s(1))().get(timeout=PATIENCE) == 4
    wait_until(lambda: "linked" in shop.lines())


def test_a_step_that_must_wait_or_goes_elsewhere_leaves_the_slice(shop: Shop, roomy: None) -> None:
    calls = [add.s(1, 1), add.s(1), add.s(1).set(countdown=0.05), add.s(1).set(expires=60), add.s(1).set(priority=1)]
    result = chain(*calls)()
    assert result.get(timeout=PATIENCE) == 6
    assert activities(shop, result) == [wire.SLICE, add.name, add.name, add.name]


def test_chains_in_a_chord_share_slices(shop: Shop, roomy: None) -> None:
    header = [chain(add.s(number, 0), add.s(1), add.s(1)) for number in range(8)]
    result = chord(header, tells.s())()
    assert result.get(timeout=PATIENCE)[0] == [number + 2 for number in range(8)]
    assert len(activities(shop, result)) <= 9
    failing = group([chain(add.s(1, 1), fails_at.s(), add.s(1)), chain(add.s(1, 1), add.s(1), add.s(1))])()
    assert failing[1].get(timeout=PATIENCE) == 4
    with pytest.raises(ValueError, match="on purpose"):
        failing[0].get(timeout=PATIENCE)


def test_a_step_that_is_revoked_before_its_turn_does_not_run(shop: Shop) -> None:
    result = chain(add.s(1, 1), adds_at.s("revoked"), note.si("never"))()
    gates["revoked"].reached()
    result.revoke()
    gates["revoked"].open()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert result.parent.get(timeout=PATIENCE) == 3
    assert shop.lines() == ["revoked 2"]


def test_a_step_that_is_revoked_while_its_slice_waits_does_not_run(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shop.app.conf, "ptemporal.canvas_at_once", 1)
    result = group([chain(adds_at.s(1, "before"), add.s(1)), chain(add.s(1, 1), note.si("never"))])()
    gates["before"].reached()
    # Without the order that `revoke` sends to the workers, which would refuse the step too.
    revoked = result[1].id
    shop.app.temporal.call(lambda client: signal_members(client, result.id, wire.REVOKE, [revoked]), 20)
    gates["before"].open()
    assert result[0].get(timeout=PATIENCE) == 3
    with pytest.raises(TaskRevokedError):
        result[1].get(timeout=PATIENCE)
    assert result[1].parent.get(timeout=PATIENCE) == 2
    assert shop.lines() == ["before 1"]


def test_a_worker_that_allows_no_loss_takes_no_slices_of_steps(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shop.app.conf, "ptemporal.lost_worker_attempts", 1)
    result = chain(add.s(1, 1), add.s(1), add.s(1), add.s(1))()
    assert result.get(timeout=PATIENCE) == 5
    assert activities(shop, result) == [wire.SLICE, *[add.name] * 4]


def test_steps_that_wait_for_the_step_before_them_do_not_count_as_waiting(shop: Shop) -> None:
    nowhere = f"{shop.queue}-nowhere"
    result = chain(add.s(1, 1).set(queue=shop.queue), *(add.s(1).set(queue=nowhere) for _ in range(3)))()
    workflow = result.id.partition("/")[0]
    wait_until(lambda: len(activities(shop, result)) == 2)

    async def ask(client: Client) -> list[str]:
        tree = await describe_tree(client, workflow)
        return await waiting_members(client, tree) if tree else []

    assert shop.app.temporal.call(ask, 20) == [result.parent.parent.id]
    result.revoke()


def test_a_step_that_failed_in_a_slice_runs_again_with_the_result_before_it(shop: Shop) -> None:
    failed = chain(add.s(1, 1), fails_at.s())()
    with pytest.raises(ValueError, match="on purpose"):
        failed.get(timeout=PATIENCE)

    again = shop.app.temporal.call(lambda client: retry(client, failed.id), 20)
    retried = shop.app.AsyncResult(again.id)
    with pytest.raises(ValueError, match="on purpose") as raised:
        retried.get(timeout=PATIENCE)
    assert raised.value.args == ("on purpose", 2)


def test_a_large_result_of_a_step_goes_on(shop: Shop) -> None:
    result = chain(large.s(1), measures.s(), add.s(1))()
    assert result.get(timeout=PATIENCE) == 100_001


@shared_task
def large(value: int) -> str:
    seen["large"].append(value)
    return str(value) * 100_000


@shared_task
def measures(text: str) -> int:
    assert seen["large"] == [1]
    return len(text)


def test_a_long_chain_takes_a_few_slices(shop: Shop, roomy: None) -> None:
    result = chain(add.s(0, 1), *(add.s(1) for _ in range(120)))()
    assert result.get(timeout=PATIENCE) == 121
    assert len(activities(shop, result)) <= 6


def test_a_killed_worker_loses_the_end_of_no_step_that_was_recorded(temporal_address: str, tmp_path: Path) -> None:
    app, queue, lines = make_app(temporal_address), f"items-{uuid.uuid4().hex[:6]}", tmp_path / "lines"
    app.conf.task_default_queue = queue
    write = app.tasks["shop.write"]
    steps = [write.si(str(lines), "1"), write.si(str(lines), "2"), app.tasks["shop.die_in_a_process"].si()]
    result = chain(*steps, write.si(str(lines), "4"))()
    lost_worker(app, queue)
    died = result.parent
    assert (died.parent.parent.state, died.parent.state, died.state, result.state) == (
        "SUCCESS",
        "SUCCESS",
        "STARTED",  # the server does not know yet that the worker is gone
        "PENDING",
    )
    with WorkerThread(app, queue):
        result.get(timeout=PATIENCE)
    assert lines.read_text().split() == ["1", "2", "4"]
    assert (died.parent.parent.state, died.parent.state, died.result) == ("SUCCESS", "SUCCESS", "lives")
    app.close()
