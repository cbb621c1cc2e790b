"""Bundles: many tasks of one transaction start as one workflow, and each behaves like a task with its own workflow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import transaction
from temporalio.client import Client

from pyramid_temporal_compat import chain, shared_task
from pyramid_temporal_compat.as_celery.abortable import AbortableTask
from pyramid_temporal_compat.client import members, task_status
from pyramid_temporal_compat.control import process_state, revoked_ids
from pyramid_temporal_compat.control.waiting_tasks import purge, waiting_members
from pyramid_temporal_compat.exceptions import StillEnlisted, TaskRevokedError
from pyramid_temporal_compat.exceptions import TimeoutError as PatienceOver
from pyramid_temporal_compat.message.bundle import LARGEST, MOST, Block, bundled
from pyramid_temporal_compat.message.ids import bundle_of
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.results import AsyncResult, ResultSet
from tests.parts import wait_until
from tests.worker.shop import Shop, WorkerThread, add, describe, event_names, events, gates, note, seen, waits_at
from tests.worker.test_trees_run import becomes, fails, retried_with, succeeds_later, tells

PATIENCE = 30
MANY = 20
"""More tasks than the default of `ptemporal.bundle`."""


@shared_task(base=AbortableTask, bind=True)
def looks(self: Any) -> str:
    gates["looks"].pass_through()
    return "aborted" if self.is_aborted() else "not"


@shared_task(bind=True)
def shows_its_priority(self: Any) -> Any:
    return self.request.delivery_info["priority"]


def several(count: int = MANY) -> list[Any]:
    with transaction.manager:
        return [add.delay(number, number) for number in range(count)]


def test_many_tasks_of_a_transaction_are_one_workflow(shop: Shop) -> None:
    results = several()
    (bundle,) = {bundle_of(result.id) for result in results}
    assert [result.get(PATIENCE) for result in results] == [2 * number for number in range(MANY)]
    assert describe(shop, bundle).workflow_type == "bundle"
    assert {result.state for result in results} == {"SUCCESS"}
    assert {result.queue for result in results} == {shop.queue}
    assert len({result.id for result in results}) == MANY
    assert (results[3].args, results[3].kwargs, results[3].name) == ([3, 3], {}, add.name)
    assert results[3].worker
    wait_until(lambda: event_names(shop, bundle)[-1] == "WORKFLOW_EXECUTION_COMPLETED")
    assert [result.get(PATIENCE) for result in results] == [2 * number for number in range(MANY)]


def test_asking_for_many_states_reads_a_long_history_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction.manager:
        results = [add.delay(number, number) for number in range(MANY)]
        waits = waits_at.delay("long history")
    assert [result.get(PATIENCE) for result in results] == [2 * number for number in range(MANY)]
    gates["long history"].reached()
    readings: list[Any] = []

    class Counted(members.MemberEnds):
        def __init__(self, *args: Any) -> None:
            readings.append(args)
            super().__init__(*args)

    monkeypatch.setattr(members, "MemberEnds", Counted)
    monkeypatch.setattr(members, "SHORT_HISTORY", 0)
    assert {shop.app.AsyncResult(result.id).state for result in results} == {"SUCCESS"}
    assert waits.state == "STARTED"
    gates["long history"].open()
    wait_until(lambda: waits.state == "SUCCESS")
    assert len(readings) == 1


def test_a_set_of_results_reads_the_history_of_a_bundle_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction.manager:
        results = [add.delay(number, number) for number in range(MANY)]
        waits = waits_at.delay("of a set")
        delayed = add.apply_async((1, 2), countdown=0.1)
        failed = fails.delay()
    assert bundle_of(delayed.id) == bundle_of(waits.id)
    gates["of a set"].reached()
    assert delayed.get(PATIENCE) == 3
    with monkeypatch.context() as patched:
        patched.setattr(AsyncResult, "_wait", None)  # no task is asked for by itself
        patched.setattr(AsyncResult, "current_status", None)
        found = ResultSet([shop.app.AsyncResult(result.id) for result in results])
        assert found.get(timeout=PATIENCE) == [2 * number for number in range(MANY)]
        with pytest.raises(ValueError, match="on purpose"):  # although another task still runs
            ResultSet([shop.app.AsyncResult(result.id) for result in (*results, waits, failed)]).get(timeout=PATIENCE)
    found = ResultSet([shop.app.AsyncResult(result.id) for result in (*results, waits, failed)])
    assert (found.ready(), found.failed(), found.completed_count()) == (False, True, MANY)
    # A task with a workflow of its own, whose id looks like the ids of the bundle.
    found = ResultSet([shop.app.AsyncResult(result.id) for result in (*results, delayed)])
    assert (found.completed_count(), found.get(timeout=PATIENCE)[-1]) == (MANY + 1, 3)
    gates["of a set"].open()
    assert ResultSet([waits, *results]).get(timeout=PATIENCE)[0] == "done"


def test_results_read_one_by_one_are_read_from_the_history_that_was_read_last(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = several()
    ResultSet(results).get(PATIENCE)
    asked: list[str] = []
    look = task_status._outcome_or_revoked

    async def counted(client: Client, handle: Any) -> Any:
        asked.append(handle.id)
        return await look(client, handle)

    monkeypatch.setattr(task_status, "_outcome_or_revoked", counted)
    assert [shop.app.AsyncResult(result.id).get(PATIENCE) for result in results] == [2 * n for n in range(MANY)]
    assert len(asked) <= MANY // 4  # none, unless the test pauses for seconds


def test_a_result_set_of_single_tasks_asks_for_each_task(shop: Shop) -> None:
    with transaction.manager:
        results = [add.apply_async((number, 1), countdown=0.1) for number in range(MANY)]
        found = ResultSet(results)
        with pytest.raises(StillEnlisted):
            found.get(timeout=PATIENCE)
    assert found.get(timeout=PATIENCE) == [number + 1 for number in range(MANY)]
    assert found.successful()


def test_two_tasks_of_a_transaction_are_a_bundle_and_one_is_not(shop: Shop) -> None:
    (alone,), two = several(1), several(2)
    assert alone.get(PATIENCE) == 0
    assert describe(shop, alone.id).workflow_type == add.name
    assert [result.get(PATIENCE) for result in two] == [0, 2]
    assert {describe(shop, bundle_of(result.id)).workflow_type for result in two} == {"bundle"}


def test_a_failure_a_retry_and_a_replacement_concern_one_task_of_the_bundle_alone(shop: Shop) -> None:
    with transaction.manager:
        others = [note.delay(str(number)) for number in range(MANY)]
        failed = fails.delay(7)
        retried = succeeds_later.delay(5)
        changed = retried_with.delay(1, 2)
        replaced = becomes.delay(chain(add.s(1, 2), add.s(3)))
    with pytest.raises(ValueError, match="on purpose"):
        failed.get(PATIENCE)
    assert (failed.state, failed.traceback is not None) == ("FAILURE", True)
    assert retried.get(PATIENCE) == 5
    assert retried.retries == 2
    assert changed.get(PATIENCE) == 21
    assert replaced.get(PATIENCE) == 6
    for other in others:
        other.get(PATIENCE)
    assert sorted(shop.lines()) == sorted([*(str(number) for number in range(MANY)), "replaced"])
    # So a list of the failed workflows shows it.
    wait_until(lambda: event_names(shop, bundle_of(failed.id))[-1] == "WORKFLOW_EXECUTION_FAILED")
    assert failed.state == "FAILURE"


@pytest.fixture
def patient_server(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server wait longer for heartbeats. On a busy machine, two dozen running tasks may miss two seconds."""
    monkeypatch.setitem(shop.app.conf, "ptemporal.heartbeat_timeout", 60)


@pytest.mark.usefixtures("patient_server")
def test_its_tasks_can_be_revoked_and_aborted_one_by_one(shop: Shop) -> None:
    with transaction.manager:
        waiting = [waits_at.delay("bundled") for _ in range(30)]  # the worker runs 24 at a time
        aborted = looks.delay()
    gates["bundled"].reached(20)
    wait_until(lambda: [result.state for result in (*waiting, aborted)].count("STARTED") == 24)
    waits = [result for result in waiting if result.state == "PENDING"]
    assert waits
    waits[-1].revoke()
    with pytest.raises(TaskRevokedError):
        waits[-1].get(PATIENCE)
    gates["bundled"].open()
    gates["looks"].reached()
    assert aborted.state == "STARTED"
    aborted.abort()
    wait_until(aborted.is_aborted)
    gates["looks"].open()
    assert aborted.get(PATIENCE) == "aborted"
    assert [result.get(PATIENCE) for result in waiting if result is not waits[-1]] == ["done"] * 29
    assert waits[-1].state == "REVOKED"


def test_a_task_enlisted_under_a_rolled_back_savepoint_is_not_in_the_bundle(shop: Shop) -> None:
    with transaction.manager:
        kept = [note.delay(f"kept {number}") for number in range(MANY)]
        point = transaction.savepoint()
        dropped = note.delay("dropped")
        point.rollback()
        later = note.delay("later")
    for result in [*kept, later]:
        result.get(PATIENCE)
    wait_until(lambda: event_names(shop, bundle_of(later.id))[-1] == "WORKFLOW_EXECUTION_COMPLETED")
    assert (dropped.state, dropped.exists()) == ("PENDING", False)
    assert "dropped" not in shop.lines()
    assert len(shop.lines()) == MANY + 1


def test_a_task_with_options_that_a_bundle_lacks_leaves_by_itself(shop: Shop) -> None:
    with transaction.manager:
        bundled_ones = [add.delay(number, 1) for number in range(MANY)]
        delayed = add.apply_async((1, 2), countdown=0.1)
        own_id = add.apply_async((1, 3), task_id=f"chosen-{shop.queue}")
        large = tells.delay("x" * 100_000, "large")
        canvas = chain(add.s(1, 2), add.s(4))()
        eager_to_leave = add.apply_async((1, 5), retry=False)
    for result, value in ((delayed, 3), (own_id, 4), (large, "x" * 100_000), (canvas, 7), (eager_to_leave, 6)):
        assert result.get(PATIENCE) == value
        assert describe(shop, result.id).id == result.id
    assert [result.get(PATIENCE) for result in bundled_ones] == [number + 1 for number in range(MANY)]
    assert seen["large"] == ["x" * 100_000]


def test_each_task_of_a_bundle_has_its_own_priority(shop: Shop) -> None:
    with transaction.manager:
        results = [shows_its_priority.apply_async(priority=number % 10) for number in range(MANY)]
    assert [result.get(PATIENCE) for result in results] == [number % 10 for number in range(MANY)]
    scheduled = [event for event in events(shop, bundle_of(results[0].id)) if event.HasField(SCHEDULED)]
    keys = {
        getattr(event, SCHEDULED).activity_id: getattr(event, SCHEDULED).priority.priority_key for event in scheduled
    }
    assert [keys[result.id] for result in results[:10]] == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]


SCHEDULED = "activity_task_scheduled_event_attributes"


def test_tasks_of_two_queues_are_two_bundles(shop: Shop) -> None:
    with transaction.manager:
        here = [add.delay(number, 1) for number in range(MANY)]
        nowhere = [add.apply_async((1, 1), queue=f"{shop.queue}-nobody") for _ in range(MANY)]
    assert len({bundle_of(result.id) for result in (*here, *nowhere)}) == 2
    assert [result.get(PATIENCE) for result in here] == [number + 1 for number in range(MANY)]
    assert {result.state for result in nowhere} == {"PENDING"}


def test_a_forgotten_result_is_not_found_any_more(shop: Shop) -> None:
    results = several()
    assert [result.get(PATIENCE) for result in results] == [2 * number for number in range(MANY)]
    for _ in range(2):
        shop.app.AsyncResult(results[4].id).forget()
    found = shop.app.AsyncResult(results[4].id)
    assert (found.state, found.exists()) == ("PENDING", False)
    with pytest.raises(PatienceOver):
        found.get(timeout=0.3)
    assert shop.app.AsyncResult(results[5].id).get(PATIENCE) == 10


@pytest.mark.usefixtures("patient_server")
def test_purge_ends_the_waiting_tasks_of_a_bundle(shop: Shop) -> None:
    with transaction.manager:
        results = [waits_at.delay("purged") for _ in range(40)]  # the worker runs 24 at a time
    gates["purged"].reached(20)
    wait_until(lambda: len([1 for result in results if result.state == "STARTED"]) == 24)
    wait_until(lambda: waiting(shop, bundle_of(results[0].id)) == 16, message="slices have not given tasks back")
    assert purged(shop) == 16
    wait_until(lambda: len([1 for result in results if result.state == "REVOKED"]) == 16)
    gates["purged"].open()
    states = [result.get(PATIENCE, propagate=False) for result in results]
    assert states.count("done") == 24
    assert [result.state for result in results].count("REVOKED") == 16


def waiting(shop: Shop, bundle: str) -> int:
    """Return how many tasks of a bundle wait for a worker. Tasks in a slice that a worker runs do not."""

    async def ask(client: Client) -> int:
        tree = await members.describe_tree(client, bundle)
        return 0 if tree is None else len(await waiting_members(client, tree))

    return shop.app.temporal.call(ask, 20)


def purged(shop: Shop) -> int:
    async def ask(client: Client) -> int:
        return await purge(client, [shop.queue])

    count: int = wait_until(lambda: shop.app.temporal.call(ask, 20))
    return count


def test_there_is_no_bundle_if_the_setting_turns_it_off(shop: Shop) -> None:
    usual = shop.app.conf["ptemporal.bundle"]
    shop.app.conf["ptemporal.bundle"] = 0
    try:
        results = several()
    finally:
        shop.app.conf["ptemporal.bundle"] = usual
    assert [result.get(PATIENCE) for result in results] == [2 * number for number in range(MANY)]
    assert {describe(shop, result.id).workflow_type for result in results} == {add.name}


def test_a_transaction_of_thousands_is_cut_into_bundles_that_the_server_takes() -> None:
    blocks: list[Block] = [Block()]
    messages = []
    for number in range(2 * MOST + 100):
        if blocks[-1].full:
            blocks.append(Block())
        body = Payload({"encoding": b"json/plain"}, b"x" * (2000 if number > MOST else 10))
        messages.append(Message("add", blocks[-1].new_id(), (body,), "here"))
        blocks[-1].count(messages[-1])
    units = bundled(messages, {block.bundle for block in blocks}, 16, at_once=500)
    assert [message for unit in units for message in unit.messages] == messages
    assert len(units) == len(blocks) > 2
    assert all(len(unit.messages) <= MOST for unit in units)
    assert all(sum(len(part.data) for part in unit.encode()) < 1.5 * LARGEST for unit in units)
    assert len({message.id for message in messages}) == len(messages)


def test_tasks_whose_bundle_would_be_too_large_to_start_leave_one_by_one() -> None:
    block = Block()
    messages = [
        Message("add", block.new_id(), (Payload({"encoding": b"json/plain"}, os.urandom(20_000)),), "here")
        for _ in range(MANY)
    ]
    (bundle,) = bundled(messages, {block.bundle}, 8, at_once=500)
    assert bundle.messages == tuple(messages)
    assert bundled(messages, {block.bundle}, 8, at_once=500, limit=300_000) == messages


# --- revoked before its workflow is there --------------------------------------------------------------------


def is_listed(shop: Shop, task_id: str) -> bool:
    """Return whether the server's list, which lags behind, has the task."""

    async def ask(client: Client) -> bool:
        return any([run.id == task_id async for run in client.list_workflows(f"WorkflowId = '{task_id}'")])

    return shop.app.temporal.call(ask, 20)


def nobody_remembers() -> None:
    """Forget the revoked tasks, as if every worker that was told of them had ended."""
    process_state.revoked.clear()
    process_state.revoked_on_server.clear()


@pytest.fixture
def forgetful() -> Iterator[None]:
    yield
    nobody_remembers()


@pytest.mark.usefixtures("forgetful")
def test_a_task_revoked_before_its_commit_does_not_run_even_if_no_worker_was_there(shop: Shop) -> None:
    queue = f"{shop.queue}-later"
    with transaction.manager:
        results = [note.apply_async([f"bundled {number}"], queue=queue) for number in range(MANY)]
        ends = chain(note.si("first").set(queue=queue), note.si("step").set(queue=queue), note.si("end"))()
        shop.app.control.revoke([results[3].id, ends.parent.id])
        wait_until(lambda: is_listed(shop, results[3].id) and is_listed(shop, ends.parent.id))
        nobody_remembers()
    assert describe(shop, bundle_of(results[3].id)).workflow_type == "bundle"
    with WorkerThread(shop.app, queue):
        for result in (results[3], ends.parent, ends):
            with pytest.raises(TaskRevokedError):
                result.get(PATIENCE)
        for result in (*results[:3], *results[4:], ends.parent.parent):
            result.get(PATIENCE)
    assert sorted(shop.lines()) == sorted([f"bundled {number}" for number in range(MANY) if number != 3] + ["first"])


@pytest.mark.usefixtures("forgetful")
def test_a_worker_that_missed_the_revoke_learns_of_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revoked_ids, "READ_EVERY", 0.05)
    with WorkerThread(shop.app, f"{shop.queue}-untold"):
        task_id = Block().new_id()
        shop.app.control.revoke(task_id)
        wait_until(lambda: task_id in process_state.revoked_on_server)


def test_a_worker_starts_even_if_the_server_does_not_list_revoked_tasks(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(revoked_ids, "READ_TIMEOUT", 0.0)

    async def look_twice(client: Client) -> None:
        looks = revoked_ids.RevokedIdsReader(client)
        await looks.read()
        await looks.read()

    shop.app.temporal.call(look_twice, 20)
    assert caplog.text.count("can't read from the server, for now, which tasks") == 1
