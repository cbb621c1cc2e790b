"""Canvases on a real server: chains, groups, chords, links, errbacks, replacements."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from click.testing import CliRunner
from temporalio.client import Client, WorkflowExecutionDescription

from pyramid_temporal_compat import chain, chord, group, maybe_signature, shared_task
from pyramid_temporal_compat.cli.common import Common
from pyramid_temporal_compat.cli.graph import command as graph_command
from pyramid_temporal_compat.client.members import describe_tree, status_in_tree
from pyramid_temporal_compat.client.saved_groups import group_in
from pyramid_temporal_compat.client.status import Status
from pyramid_temporal_compat.client.task_actions import delete_workflow
from pyramid_temporal_compat.exceptions import ChordError, Halted, Ignore, TaskRevokedError, TimeoutError
from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.message.nodes import ChainNode, ChordNode, GroupNode
from pyramid_temporal_compat.results import AsyncResult, ResultSet
from pyramid_temporal_compat.results.canvas_view import outline
from tests.parts import wait_until
from tests.worker.shop import Shop, add, describe, event_names, gates, note, seen, waits_at

PATIENCE = 30


@shared_task
def xsum(numbers: list[Any]) -> Any:
    return sum(sum(number) if isinstance(number, list) else number for number in numbers)


@shared_task
def fails(*args: Any) -> None:
    raise ValueError("on purpose", *args)


@shared_task
def tells(value: Any, key: str) -> Any:
    seen[key].append(value)
    return value


@shared_task
def hears(request: Any, error: BaseException, traceback: str, key: str) -> None:
    seen[key].append((request.id, request.task, repr(error), "raise ValueError" in traceback))


@shared_task
def hears_arguments(request: Any, error: BaseException, traceback: str, key: str) -> None:
    seen[key].append((request.args, request.kwargs))


@shared_task
def gives_up(*args: Any) -> None:
    raise Ignore


@shared_task(ignore_result=True)
def keeps_nothing(value: int) -> int:
    return value + 1


@shared_task
def hears_id(task_id: str) -> None:
    seen["old style"].append(task_id)


@shared_task(bind=True)
def becomes(self: Any, signature: Any) -> Any:
    note.delay("replaced")
    return self.replace(maybe_signature(signature))


@shared_task(bind=True, max_retries=3)
def succeeds_later(self: Any, value: int) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return value


@shared_task(bind=True, max_retries=1)
def retried_with(self: Any, value: int, by: int) -> int:
    if self.request.retries == 0:
        raise self.retry(args=(value, by * 10), countdown=0)
    return value + by


@shared_task(bind=True, max_retries=1)
def sees_links(self: Any, before: int, retry: bool) -> list[Any]:
    if retry and self.request.retries == 0:
        raise self.retry(args=(before + 1, retry), countdown=0)
    return [before, self.request.callbacks, self.request.errbacks]


@shared_task(bind=True)
def joins_chord(self: Any, value: int, lazy: bool = False) -> int:
    added = self.add_to_chord(add.si(value, 100), lazy=lazy)
    if lazy:
        added.delay()
    return value


def test_a_chain_hands_each_result_to_the_next(shop: Shop) -> None:
    result = chain(add.s(1, 2), add.s(3), add.s(4))()
    assert result.get(PATIENCE) == 10
    assert result.parent.get(PATIENCE) == 6
    assert result.parent.parent.get(PATIENCE) == 3
    assert result.parent.parent.state == "SUCCESS"
    assert describe(shop, result.id).workflow_type == "chain"


def test_a_group_gives_the_results_in_order(shop: Shop) -> None:
    result = group(add.s(number, number) for number in range(12))()
    assert result.get(timeout=PATIENCE) == [number * 2 for number in range(12)]
    assert result.successful()
    assert {member.id.rpartition("/")[0] for member in result} == {result.id}


@pytest.mark.parametrize("of_one_group", [False, True])
def test_joining_with_a_timeout_of_zero_returns_the_results_that_are_there(shop: Shop, of_one_group: bool) -> None:
    calls = group(add.s(1, 1), add.s(2, 2))() if of_one_group else [add.delay(1, 1), add.delay(2, 2)]
    ended = ResultSet(list(calls))
    assert ended.join_native(timeout=PATIENCE) == [2, 4]
    asked_anew = ResultSet([AsyncResult(result.id) for result in ended])
    assert asked_anew.join_native(timeout=0, interval=30) == [2, 4]
    assert AsyncResult(ended[0].id).get(timeout=0) == 2


def test_joining_with_a_timeout_of_zero_does_not_wait_for_missing_results(shop: Shop) -> None:
    unknown = ResultSet([AsyncResult(f"unknown-{number}") for number in range(3)])
    with pytest.raises(TimeoutError):
        unknown.join_native(timeout=0, interval=30)


def test_a_chord_gets_the_results_of_its_header(shop: Shop) -> None:
    result = chord([add.s(number, number) for number in range(5)])(xsum.s())
    assert result.get(PATIENCE) == 20
    assert result.parent.get(timeout=PATIENCE) == [0, 2, 4, 6, 8]


def test_a_nested_canvas_runs_in_the_order_of_its_nesting(shop: Shop) -> None:
    canvas = chain(
        add.s(1, 1),
        group(add.s(1), chain(add.s(2), add.s(3)), group(add.s(4), add.s(5))),
        xsum.s(),
        chord([add.s(1), add.s(2)], xsum.s()),
    )
    assert canvas().get(PATIENCE) == (((2 + 1) + (2 + 5) + (2 + 4) + (2 + 5)) * 2) + 3


def test_a_group_at_the_end_of_a_chain_is_the_result(shop: Shop) -> None:
    result = chain(add.s(1, 1), group(add.s(1), add.s(2)))()
    assert result.get(timeout=PATIENCE) == [3, 4]
    assert result.parent.get(PATIENCE) == 2


def test_links_run_with_the_result_and_errbacks_do_not(shop: Shop) -> None:
    result = add.apply_async(
        (1, 2), link=[tells.s("linked"), chain(add.s(10), tells.s("linked"))], link_error=hears_id.s()
    )
    assert result.get(PATIENCE) == 3
    wait_until(lambda: sorted(seen["linked"]) == [3, 13], message="the links did not run")
    assert describe(shop, result.id).workflow_type == add.name
    (linked,) = result.children  # several callbacks run as a group
    assert [child.id.rpartition("/")[0] for child in linked] == [result.id, result.id]


@pytest.mark.parametrize("retry", [False, True])
def test_a_task_sees_what_is_linked_to_it(shop: Shop, retry: bool) -> None:
    stamped = tells.s("linked").set(priority=3)
    stamped.stamp(tenant=7)
    then = chain(add.si(1, 2), group([add.s(3).on_error(hears_id.s()), add.s(4)]))
    canvas = chain(add.s(1, 1), sees_links.s(retry).on_error(hears_id.s()))
    canvas.tasks[1].link(stamped)
    canvas.tasks[1].link(then)
    before, callbacks, errbacks = canvas().get(PATIENCE)
    assert before == 2 + retry
    linked, chained = map(maybe_signature, callbacks)
    assert (linked.task, list(linked.args), linked.immutable) == (tells.name, ["linked"], False)
    assert linked.options["priority"] == 3
    assert (linked.options["stamped_headers"], linked.options["tenant"]) == (["tenant"], 7)
    assert repr(chained) == repr(then)
    assert [maybe_signature(errback).task for errback in errbacks] == [hears_id.name]


def test_a_task_without_links_sees_none(shop: Shop) -> None:
    assert chain(add.s(1, 1), sees_links.s(False))().get(PATIENCE) == [2, None, None]


def test_errbacks_run_after_a_failure_and_links_do_not(shop: Shop) -> None:
    result = fails.apply_async((1,), link=tells.s("never"), link_error=[hears_id.s(), hears.s("new style")])
    with pytest.raises(ValueError, match="on purpose"):
        result.get(PATIENCE)
    wait_until(lambda: seen["old style"] == [result.id], message="no errback by id")
    told = (result.id, fails.name, "ValueError('on purpose', 1)", True)
    wait_until(lambda: seen["new style"] == [told], message="no errback with the error")
    assert seen["never"] == []


def test_the_graph_shows_which_links_did_not_run(shop: Shop) -> None:
    well = add.apply_async((1, 1), link=tells.s("linked"), link_error=[hears.s("new style")])
    badly = fails.apply_async((1,), link=tells.s("never"), link_error=[hears.s("new style")])
    for result in (well, badly):
        wait_until(result.ready)
    wait_until(lambda: shop.app.temporal.call(lambda client: states_in_graph(client, well.id), PATIENCE) == WELL)
    wait_until(lambda: shop.app.temporal.call(lambda client: states_in_graph(client, badly.id), PATIENCE) == BADLY)


WELL = {"": "SUCCESS", "link: ": "SUCCESS", "on error: ": "NOT RUN"}
BADLY = {"": "FAILURE", "link: ": "NOT RUN", "on error: ": "SUCCESS"}


async def states_in_graph(client: Client, task_id: str) -> dict[str, str]:
    """Return the state of each line of a graph, by the label of its place."""
    lines = await outline(client, task_id)
    labels = ("link: ", "on error: ")
    return {next((label for label in labels if line.text.startswith(label)), ""): line.state for line in lines}


def test_an_errback_sees_the_arguments_of_the_failed_task(shop: Shop) -> None:
    fails.s(1).on_error(hears_arguments.s("alone")).delay()
    chain(add.s(1, 2), fails.s("more").on_error(hears_arguments.s("step"))).delay()
    chord([add.s(1, 1), add.s(2, 2)], fails.s("more").on_error(hears_arguments.s("body"))).delay()
    chord([fails.si()], xsum.s().on_error(hears_arguments.s("header"))).delay()
    large = "x" * 20_000
    fails.s(large).on_error(hears_arguments.s("large")).delay()
    wait_until(lambda: all(seen[key] for key in ("alone", "step", "body", "header", "large")), message="no errback")
    assert [seen[key] for key in ("alone", "step", "body", "header")] == [
        [([1], {})],
        [([3, "more"], {})],
        [([[2, 4], "more"], {})],
        [([], {})],
    ]
    assert seen["large"] == [(None, None)]


def test_the_steps_after_an_ignored_task_do_not_run(shop: Shop) -> None:
    canvas = chain(add.s(1, 1), gives_up.s(), add.s(1))
    canvas.link_error(hears_id.si("never"))
    result = canvas()
    with pytest.raises(Halted, match=r"gives_up.* ended IGNORED"):
        result.get(PATIENCE)
    wait_until(lambda: describe(shop, result.id).status.name == "FAILED", message="the canvas has not ended")
    assert (result.parent.state, seen["old style"]) == ("IGNORED", [])


def test_a_result_that_is_not_stored_is_still_passed_on(shop: Shop) -> None:
    alone = group(keeps_nothing.s(1), add.s(1, 1))()
    step = chain(keeps_nothing.s(1), add.s(10))()
    header = chord([keeps_nothing.s(1), chain(add.s(1, 1), keeps_nothing.s())], xsum.s())()
    linked = keeps_nothing.apply_async((1,), link=tells.s("linked"))
    assert step.get(PATIENCE) == 12
    assert header.get(PATIENCE) == 5
    wait_until(lambda: seen["linked"] == [2], message="the link was not given the result")
    assert [AsyncResult(found.id).get(PATIENCE) for found in (step.parent, header.parent[0], linked)] == [None] * 3
    assert alone.get(timeout=PATIENCE) == [None, 2]


def test_a_chain_ends_with_the_step_that_fails(shop: Shop) -> None:
    result = chain(add.s(1, 2), fails.s(), add.s(3))()
    with pytest.raises(ValueError, match="on purpose"):
        result.get(PATIENCE)
    wait_until(lambda: result.state == "FAILURE")  # a moment after the step before it
    assert [node.state for node in (result.parent, result.parent.parent)] == ["FAILURE", "SUCCESS"]


def test_a_member_that_fails_leaves_the_others_of_its_group_alone(shop: Shop) -> None:
    result = group(add.s(1, 1), fails.s(), add.s(2, 2))()
    with pytest.raises(ValueError, match="on purpose"):
        result.get(timeout=PATIENCE)
    wait_until(lambda: result.ready(), message="not all of the group have ended")
    assert [member.state for member in result] == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert (result.completed_count(), result.failed()) == (2, True)


def test_a_chord_whose_header_fails_fails_with_a_chord_error(shop: Shop) -> None:
    result = chord([add.s(1, 1), fails.s()], xsum.s().on_error(hears.s("chord")))()
    with pytest.raises(ValueError, match="on purpose"):  # the first failure among the results before the chord
        result.get(PATIENCE)
    with pytest.raises(ChordError, match=r"Dependency \S+ raised ValueError\('on purpose'\)"):
        result.get(PATIENCE, follow_parents=False)
    assert result.state == "FAILURE"
    wait_until(lambda: len(seen["chord"]) == 1, message="no errback")
    assert seen["chord"][0][:2] == (result.id, xsum.name)


@pytest.mark.parametrize("beside", [0, 2])
def test_a_group_raises_the_chord_error_of_its_member_and_join_the_error_of_the_task(shop: Shop, beside: int) -> None:
    result = group(chord([add.s(1, 1), fails.s()], xsum.s()), *[add.s(1, 1)] * beside)()
    for _ in range(2):
        with pytest.raises(ChordError):
            result.get(timeout=PATIENCE)
        with pytest.raises(ValueError, match="on purpose"):
            result.join(timeout=PATIENCE)


def test_an_errback_of_a_chord_and_of_a_chord_in_its_header_runs_once_for_an_error(shop: Shop) -> None:
    inner = chord([add.si(1, 1), fails.si()], add.si(1, 1))
    outer = chord(group([add.si(1, 1), inner]), xsum.s())
    outer.link_error(hears.s("nested"))
    result = outer.delay()
    with pytest.raises((ChordError, ValueError)):
        result.get(PATIENCE)
    wait_until(lambda: describe(shop, result.id).status.name == "FAILED", message="the canvas has not ended")
    assert len(seen["nested"]) == 1


def test_errbacks_of_a_group_run_for_each_member_that_a_failed_header_keeps_from_running(shop: Shop) -> None:
    inner = chord([add.si(1, 1)], xsum.s())
    canvas = chord([add.si(1, 1), fails.si()], group(inner, add.si(2, 2).on_error(hears.s("own"))))
    canvas.link_error(hears.s("chord"))
    result = canvas.apply_async()
    with pytest.raises(ValueError, match="on purpose"):
        result.get(timeout=PATIENCE)
    members = [member.id for member in result]
    wait_until(lambda: len(seen["chord"]) >= 2 and seen["own"], message="not all errbacks ran")
    assert sorted(told[0] for told in seen["chord"]) == sorted(members)
    assert [told[0] for told in seen["own"]] == members[1:]


def test_a_member_is_retried_like_a_single_task(shop: Shop) -> None:
    assert chain(succeeds_later.s(1), retried_with.s(2), succeeds_later.s())().get(PATIENCE) == 21


@pytest.mark.parametrize(
    "canvas",
    [lambda: add.s(1, 2), lambda: chain(add.s(1, 1), add.s(1)), lambda: group(add.s(1, 1), add.s(0, 1)) | xsum.s()],
)
def test_a_task_may_be_replaced_by_a_canvas(shop: Shop, canvas: Any) -> None:
    result = becomes.delay(canvas())
    assert result.get(PATIENCE) == 3
    wait_until(lambda: shop.lines() == ["replaced"], message="what the task did before was not committed")


def test_a_member_may_be_replaced_by_a_canvas(shop: Shop) -> None:
    result = chain(becomes.si(group(add.s(1, 1), add.s(2, 2))), xsum.s(), add.s(1))()
    assert result.get(PATIENCE) == 7


@pytest.mark.parametrize(
    "canvas",
    [
        lambda several: chord([add.si(1, 2)], several),
        lambda several: chain(add.si(1, 2), chord([add.s(0)], several)),
        lambda several: chord([add.si(1, 2)], chain(xsum.s(), several)),
    ],
)
def test_a_replacement_that_ends_with_a_group_gives_the_results_of_the_group(shop: Shop, canvas: Any) -> None:
    replaced = becomes.si(canvas(group(tells.s("first"), tells.s("second"))))
    result = group(add.s(1, 1), replaced)()
    assert result.get(timeout=PATIENCE)[1] in ([3, 3], [[3], [3]])
    assert chain(replaced, tells.s("next"))().get(PATIENCE) in ([3, 3], [[3], [3]])


def test_the_last_step_of_a_member_that_is_a_chain_may_add_to_the_chord(shop: Shop) -> None:
    result = chord([chain(add.s(1, 1), joins_chord.s()), add.s(1, 1)], xsum.s())()
    assert result.get(PATIENCE) == 2 + 2 + 102


def test_linked_added_and_replacing_tasks_know_how_they_were_called(shop: Shop) -> None:
    linked = add.apply_async((1, 2), link=add.s(3))
    linked.get(PATIENCE)
    (link,) = linked.children
    assert (link.get(PATIENCE), link.name, link.args) == (6, add.name, [3])
    chorded = chord([joins_chord.s(1), becomes.si(add.s(4, 5))], xsum.s())()
    assert chorded.get(PATIENCE) == 1 + 9 + 101
    header = chorded.parent
    assert [header[0].children[0].args, header[1].args] == [[1, 100], [4, 5]]


@pytest.mark.parametrize("batch", [250, 1])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_member_may_add_to_its_chord(shop: Shop, batch: int, lazy: bool) -> None:
    shop.app.conf["ptemporal.canvas_batch"] = batch
    try:
        result = chord([joins_chord.s(1, lazy), add.s(1, 1)], xsum.s())()
        assert result.get(PATIENCE) == 1 + 2 + 101
        (added,) = result.parent[0].children
        assert added.get(PATIENCE) == 101
    finally:
        del shop.app.conf["ptemporal.canvas_batch"]


def test_a_large_group_is_cut_into_workflows(shop: Shop) -> None:
    shop.app.conf["ptemporal.canvas_batch"] = 7
    try:
        result = (group(add.s(number, 1) for number in range(20)) | xsum.s())()
        assert result.get(PATIENCE) == sum(range(21))
        assert len({member.id.rpartition("/")[0] for member in result.parent}) == 3
        assert result.parent.get(timeout=PATIENCE) == list(range(1, 21))
    finally:
        del shop.app.conf["ptemporal.canvas_batch"]


def test_a_task_that_had_an_id_before_keeps_it(shop: Shop) -> None:
    frozen = add.s(1, 2)
    before = frozen.freeze()
    result = chain(frozen, add.s(3))()
    assert (result.get(PATIENCE), before.get(PATIENCE)) == (6, 3)


def test_ids_that_differ_only_at_the_end_are_told_apart(shop: Shop) -> None:
    alike = str(uuid.uuid4())[:-4]  # the last id looks like the id of a bundle
    frozen = add.s(1, 2).set(task_id=f"{alike}0001")
    before = frozen.freeze()
    result = chain(frozen, add.s(3).set(task_id=f"{alike}0000"))()
    assert (result.get(PATIENCE), result.id) == (6, f"{alike}0000")
    assert (before.get(PATIENCE), before.id) == (3, f"{alike}0001")


def test_the_states_of_running_members_are_read_in_one_request(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    result = group(waits_at.s("counted"), add.s(1, 1), waits_at.s("counted"))()
    assert result.results[1].get(PATIENCE) == 2
    gates["counted"].reached(2)
    with monkeypatch.context() as patched:
        patched.setattr(type(result.results[0]), "current_status", None)
        assert (result.completed_count(), result.successful(), result.failed()) == (1, False, False)
    gates["counted"].open()
    assert result.get(timeout=PATIENCE) == ["done", 2, "done"]
    assert (result.completed_count(), result.successful(), result.failed()) == (3, True, False)


def test_a_canvas_is_drawn_while_it_runs(shop: Shop) -> None:
    shop.app.conf["ptemporal.canvas_batch"] = 3
    try:
        result = (group(waits_at.s("drawn") for _ in range(5)) | xsum.s())()
    finally:
        del shop.app.conf["ptemporal.canvas_batch"]
    gates["drawn"].reached(5)
    drawn = CliRunner().invoke(graph_command, [result.id], obj=Common(app=shop.app), catch_exceptions=False)
    states = [word for word in drawn.output.split() if word in ("SUCCESS", "STARTED", "PENDING")]
    assert states == ["STARTED"] * 5 + ["PENDING"]
    result.parent.revoke()
    gates["drawn"].open()
    wait_until(result.ready)


@pytest.mark.parametrize("place", ["links", "errbacks"])
def test_a_group_that_is_linked_to_a_group_is_found_by_its_id(place: str) -> None:
    linked = GroupNode("root/2", ())
    assert group_in(GroupNode("root", (), **{place: (linked,)}), "root/2") == (("root/2", None), [])
    body = ChainNode("root", (linked,))
    assert group_in(ChordNode("root", "root/1", (), body, errbacks=(GroupNode("root/3", ()),)), "root/3") is not None


def test_a_member_that_has_not_started_can_be_revoked(shop: Shop) -> None:
    gates["first"]
    result = chain(waits_at.si("first"), add.si(1, 1), add.s(1))()
    gates["first"].reached()
    result.parent.revoke()
    gates["first"].open()
    with pytest.raises(TaskRevokedError):
        result.get(PATIENCE)
    assert [result.parent.state, result.parent.parent.state] == ["REVOKED", "SUCCESS"]


def test_a_forgotten_member_is_not_found_by_its_id_and_the_others_are(shop: Shop) -> None:
    result = (group(add.s(number, 1) for number in range(3)) | xsum.s())()
    assert result.get(PATIENCE) == 6
    forgotten, kept = result.parent.results[:2]
    for _ in range(2):
        forgotten.forget()
    assert describe(shop, forgotten.id).workflow_type == wire.FORGOTTEN
    found = shop.app.AsyncResult(forgotten.id)
    assert (found.state, found.exists(), forgotten.state) == ("PENDING", False, "PENDING")
    with pytest.raises(TimeoutError):
        found.get(timeout=0.3)
    assert (shop.app.AsyncResult(kept.id).get(PATIENCE), shop.app.AsyncResult(result.id).get(PATIENCE)) == (2, 6)
    result.parent.forget()  # of a chord's header
    assert [shop.app.AsyncResult(member.id).state for member in result.parent] == ["PENDING"] * 3
    assert shop.app.AsyncResult(result.id).get(PATIENCE) == 6


def test_a_forgotten_canvas_goes_with_all_its_workflows(shop: Shop) -> None:
    shop.app.conf["ptemporal.canvas_batch"] = 3
    try:
        results = group(add.s(number, 1) for number in range(6))(), chain(add.s(1, 1), add.s(1))()
    finally:
        del shop.app.conf["ptemporal.canvas_batch"]
    assert [result.get(timeout=PATIENCE) for result in results] == [[1, 2, 3, 4, 5, 6], 3]
    members = [*results[0].results, results[1], results[1].parent]
    assert {member.id.count("/") for member in results[0]} == {2}  # in child workflows of the group's workflow
    for result in results:
        wait_until(lambda: event_names(shop, result.id)[-1] == "WORKFLOW_EXECUTION_COMPLETED")  # noqa: B023
        result.forget()
    wait_until(lambda: not any(shop.app.AsyncResult(member.id).exists() for member in members))


def test_a_canvas_deleted_during_a_request_counts_as_missing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    result = group(add.s(1, 1), add.s(2, 2))()
    assert result.get(timeout=PATIENCE) == [2, 4]
    wait_until(lambda: event_names(shop, result.id)[-1] == "WORKFLOW_EXECUTION_COMPLETED")
    asked: list[str] = []

    async def gone(client: Client, workflow_id: str) -> None:
        while await describe_tree(client, workflow_id) is not None:  # noqa: ASYNC110  the server's state
            await asyncio.sleep(0.05)

    async def deleted_meanwhile(client: Client, found: WorkflowExecutionDescription, *args: Any) -> Status:
        asked.append(found.id)
        await delete_workflow(client, found.id)
        await asyncio.wait_for(gone(client, found.id), PATIENCE)
        return await status_in_tree(client, found, *args)

    monkeypatch.setattr("pyramid_temporal_compat.client.task_status.status_in_tree", deleted_meanwhile)
    assert shop.app.AsyncResult(result.results[0].id).state == "PENDING"
    assert asked == [result.id]


def test_a_canvas_leaves_with_its_transaction(shop: Shop) -> None:
    import transaction

    with transaction.manager:
        result = chain(add.s(1, 2), add.s(3))()
        assert result.state == "PENDING"
        assert not result.exists()
    assert result.get(PATIENCE) == 6


def test_a_running_member_is_started(shop: Shop) -> None:
    result = chain(waits_at.si("shown"), add.si(1, 1))()
    gates["shown"].reached()
    assert (result.parent.state, result.state) == ("STARTED", "PENDING")
    gates["shown"].open()
    assert result.get(PATIENCE) == 2


def test_a_canvas_can_be_drawn_from_any_of_its_ids(shop: Shop) -> None:
    result = chain(add.s(1, 2), chord([add.s(1), fails.s()], xsum.s().on_error(hears_id.s())))()
    with pytest.raises(ValueError, match="on purpose"):
        result.get(PATIENCE)
    wait_until(lambda: describe(shop, result.id).status.name == "FAILED", message="the errback has not ended")
    for asked in (result.id, result.parent.results[0].id):
        drawn = CliRunner().invoke(graph_command, [asked], obj=Common(app=shop.app), catch_exceptions=False)
        rows = [line.split() for line in drawn.output.splitlines()]
        assert [row[0] for row in rows[1:4]] == [f"{add.name}(1,", "chord", "header:"]
        states = [word for row in rows for word in row if word in ("SUCCESS", "FAILURE", "REVOKED", "NOT")]
        # The errback of the chord ran, and the errback of the body did not.
        assert states == ["SUCCESS", "SUCCESS", "FAILURE", "FAILURE", "NOT", "SUCCESS"]  # NOT RUN
    dot = CliRunner().invoke(graph_command, [result.id, "--dot"], obj=Common(app=shop.app), catch_exceptions=False)
    assert dot.output.startswith("digraph canvas {")
    assert dot.output.count("->") == 7


def test_tasks_that_came_into_a_canvas_while_it_ran_are_drawn(shop: Shop) -> None:
    replaced = becomes.si(chain(add.s(1, 1), becomes.si(add.s(2, 2))))
    result = chord([joins_chord.s(1), replaced], xsum.s())()
    assert result.get(PATIENCE) == 1 + 4 + 101
    drawn = CliRunner().invoke(graph_command, [result.id], obj=Common(app=shop.app), catch_exceptions=False)
    lines = [line.split("(")[0].strip() for line in drawn.output.splitlines()]
    assert lines == [
        "chord",
        f"header: {joins_chord.name}",
        f"added: {add.name}",
        f"header: {becomes.name}",
        "replaced by: chain",
        add.name,
        becomes.name,
        f"replaced by: {add.name}",
        f"body: {xsum.name}",
    ]
    assert drawn.output.count("SUCCESS") == 5
    dot = CliRunner().invoke(graph_command, [result.id, "--dot"], obj=Common(app=shop.app), catch_exceptions=False)
    assert dot.output.count("->") == 8


def test_a_canvas_that_replaced_a_single_task_is_drawn(shop: Shop) -> None:
    result = becomes.delay(group(add.s(1, 1), add.s(2, 2)))
    assert result.get(PATIENCE) == [2, 4]
    drawn = CliRunner().invoke(graph_command, [result.id], obj=Common(app=shop.app), catch_exceptions=False)
    lines = [line.split("(")[0].strip() for line in drawn.output.splitlines()]
    inside = ["replaced by: chord", f"header: {add.name}", f"header: {add.name}", "body: celery.accumulate"]
    assert lines == [becomes.name, *inside]


def test_a_single_task_is_drawn_as_one_line(shop: Shop) -> None:
    result = add.delay(1, 2)
    assert result.get(PATIENCE) == 3
    drawn = CliRunner().invoke(graph_command, [result.id], obj=Common(app=shop.app), catch_exceptions=False)
    assert drawn.output.split() == [add.name, "SUCCESS", result.id]


def test_an_id_that_the_server_does_not_know_is_an_error(shop: Shop) -> None:
    drawn = CliRunner().invoke(graph_command, ["nobody"], obj=Common(app=shop.app), catch_exceptions=False)
    assert drawn.exit_code == 1
    assert "knows no task with the id 'nobody'" in drawn.output


def test_a_group_is_revoked_with_the_options_of_the_call(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(shop.app.control, "revoke", lambda task_id, **options: told.append((task_id, options)))
    result = shop.app.GroupResult("a-group", [shop.app.AsyncResult("one"), shop.app.AsyncResult("two")])
    result.revoke(terminate=True, signal="SIGINT", wait=True, timeout=3)
    said = {"terminate": True, "signal": "SIGINT", "reply": True, "timeout": 3}
    assert told == [(["one", "two"], said)]
