"""A planned canvas is one unit. The id of each task names the workflow that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import transaction
from temporalio.client import WorkflowExecutionStatus

from pyramid_temporal_compat import Celery, Task, chain, chord, group, signature
from pyramid_temporal_compat.exceptions import InvalidArguments, InvalidCall, NotRegistered, StillEnlisted
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.message.nodes import ChainNode, ChordNode, GroupNode, TaskNode
from pyramid_temporal_compat.message.tree import Tree
from pyramid_temporal_compat.results import GroupResult, result_from_tuple
from pyramid_temporal_compat.testing.calls import recording
from tests.parts import wait_until


@pytest.fixture
def app(temporal_address: str) -> Iterator[Celery]:
    made = Celery("plans", set_as_current=False)
    made.conf["ptemporal.address"] = temporal_address
    made.conf.task_default_queue = "nobody-serves-this"
    made.task(lambda x, y=0: x + y, name="add")
    made.task(lambda values: sum(values), name="total")
    made.task(lambda *args: None, name="note")
    yield made
    made.close()


class Sent(list[Any]):
    """Records what was sent."""

    @property
    def one(self) -> Any:
        (unit,) = self
        return unit


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    found = Sent()

    class Dispatcher:
        send = staticmethod(found.extend)
        after_commit = staticmethod(found.extend)

    monkeypatch.setattr(Celery, "dispatcher", Dispatcher)
    return found


def s(app: Celery, name: str, *args: Any) -> Any:
    return app.tasks[name].s(*args)


def test_a_decoded_tree_equals_the_encoded_tree(app: Celery, sent: Sent) -> None:
    add, total = app.tasks["add"], app.tasks["total"]
    (add.s(1, 1) | group(add.s(i) for i in range(3)) | total.s() | add.s(5)).apply_async()
    tree = sent.one
    assert isinstance(tree.root, ChainNode)
    assert Tree.decode(tree.encode()) == tree
    assert [message.task for message in tree.messages] == ["add", "add", "add", "add", "total", "add"]


def test_the_workflow_has_the_id_of_the_last_result_and_other_ids_begin_with_it(app: Celery, sent: Sent) -> None:
    result = chain(s(app, "add", 1), group(s(app, "add"), s(app, "add")), s(app, "total")).apply_async()
    assert sent.one.id == result.id
    others = [message.id for message in sent.one.messages if message.id != result.id]
    assert len(set(others)) == 3
    assert all(other.rpartition("/")[0] == result.id for other in others)


def test_a_given_task_id_becomes_the_id_of_the_last_result(app: Celery, sent: Sent) -> None:
    assert chain(s(app, "add", 1), s(app, "add", 2)).apply_async(task_id="mine").id == "mine"
    assert group(s(app, "add", 1), s(app, "add", 2)).apply_async(task_id="ours").id == "ours"
    assert [tree.id for tree in sent] == ["mine", "ours"]


def test_a_signature_frozen_before_keeps_its_id(app: Celery, sent: Sent) -> None:
    first = s(app, "add", 1)
    frozen = first.freeze()
    result = (first | s(app, "add", 2)).apply_async()
    assert result.parent.id == frozen.id
    assert [message.id for message in sent.one.messages] == [frozen.id, result.id]


def test_a_tree_with_a_frozen_signature_has_ids_of_its_own(app: Celery, sent: Sent) -> None:
    inner = chain(s(app, "add", 1), s(app, "add", 2))
    inner.freeze()
    chain(s(app, "add", 0), inner).apply_async()
    ids = [message.id for message in sent.one.messages]
    assert len(set(ids)) == 3


def test_root_and_parent_are_known_before_it_runs(app: Celery, sent: Sent) -> None:
    chain(s(app, "add", 1), s(app, "add", 2), s(app, "add", 3)).apply_async()
    first, second, third = sent.one.messages
    assert [message.root_id for message in (first, second, third)] == [first.id] * 3
    assert [message.parent_id for message in (first, second, third)] == [None, first.id, second.id]


def test_a_large_group_is_split_into_workflows(app: Celery, sent: Sent) -> None:
    app.conf["ptemporal.canvas_batch"] = 4
    result = group(s(app, "add", i) for i in range(10)).apply_async()
    ids = [message.id for message in sent.one.messages]
    assert [member.id for member in result] == ids
    workflows = [id.rpartition("/")[0] for id in ids]
    assert [workflows.count(workflow) for workflow in dict.fromkeys(workflows)] == [4, 4, 2]
    assert all(workflow.rpartition("/")[0] == result.id for workflow in workflows)


def test_a_single_task_without_links_is_still_a_message(app: Celery, sent: Sent) -> None:
    s(app, "add", 1).apply_async()
    chain(s(app, "add", 1)).apply_async()
    assert [type(unit) for unit in sent] == [Message, Message]


def test_a_single_task_with_links_is_one_unit(app: Celery, sent: Sent) -> None:
    add, note = app.tasks["add"], app.tasks["note"]
    add.apply_async((1,), link=note.s("done"), link_error=[note.s("bad"), note.si("worse")])
    leaf = sent.one.root
    assert isinstance(leaf, TaskNode)
    assert [found.message.argsrepr for found in leaf.links] == ["('done',)"]
    assert [(found.message.argsrepr, found.takes) for found in leaf.errbacks] == [
        ("('bad',)", True),
        ("('worse',)", False),
    ]
    assert {found.message.parent_id for found in (*leaf.links, *leaf.errbacks)} == {leaf.message.id}


def test_a_group_with_a_next_step_becomes_a_chord(app: Celery, sent: Sent) -> None:
    result = (group(s(app, "add", 1), s(app, "add", 2)) | s(app, "total")).apply_async()
    root = sent.one.root
    assert isinstance(root, ChordNode)
    assert (root.id, root.group_id) == (result.id, result.parent.id)
    assert {leaf.message.chord for leaf in root.header} == {result.id}
    assert {leaf.message.group for leaf in root.header} == {root.group_id}
    assert [leaf.message.group_index for leaf in root.header] == [0, 1]


def test_a_chord_waits_for_the_last_step_of_a_chain_in_its_header(app: Celery, sent: Sent) -> None:
    result = chord([s(app, "add", 1) | s(app, "add", 2), s(app, "add", 3)], s(app, "total")).apply_async()
    first, second, other, body = sent.one.messages
    assert [message.chord for message in (first, second, other, body)] == [None, result.id, result.id, None]


def test_errbacks_of_the_body_also_run_for_the_header(app: Celery, sent: Sent) -> None:
    chord([s(app, "add", 1)], s(app, "total").on_error(s(app, "note", 1))).apply_async()
    root = sent.one.root
    assert [leaf.message.task for leaf in root.errbacks] == ["note"]
    assert [leaf.message.task for leaf in root.body.errbacks] == ["note"]


def test_the_results_have_the_ids_of_the_tree(app: Celery, sent: Sent) -> None:
    canvas = chain(s(app, "add", 1), group(s(app, "add"), s(app, "add") | s(app, "add", 2)), s(app, "total"))
    result = canvas.apply_async()
    assert sent.one.root.result() == result.as_tuple()
    assert result_from_tuple(result.as_tuple(), app).as_tuple() == result.as_tuple()


def test_an_empty_canvas_sends_nothing(app: Celery, sent: Sent) -> None:
    assert chain().apply_async() is None
    assert group([], app=app).apply_async().results == []
    assert sent == []


def test_a_task_class_with_its_own_apply_async_may_change_the_call(app: Celery, sent: Sent) -> None:
    class Marked(Task):
        def apply_async(self, *args: Any, **options: Any) -> Any:
            return super().apply_async(*args, **{**options, "headers": {"mark": "x"}})

    marked = app.task(lambda x: x, name="marked", base=Marked)
    (marked.s(1) | marked.s()).apply_async()
    assert [message.headers for message in sent.one.messages] == [{"mark": "x"}] * 2


def test_stamps_travel_as_celery_s_headers(app: Celery, sent: Sent) -> None:
    canvas = chain(s(app, "add", 1), s(app, "add", 2))
    canvas.stamp(header="value")
    canvas.apply_async()
    assert [message.headers for message in sent.one.messages] == [
        {"stamped_headers": ["header"], "stamps": {"header": "value"}}
    ] * 2


# --- refused -----------------------------------------------------------------------------------------


def test_known_arguments_are_checked_in_the_view(app: Celery, sent: Sent) -> None:
    with pytest.raises(InvalidArguments, match="add"):
        group(s(app, "add", 1), s(app, "add", 1, 2, 3)).apply_async()
    (s(app, "add", 1) | app.tasks["add"].s()).apply_async()  # the second task also gets the first result
    assert len(sent) == 1


def test_members_are_skewed_up_to_the_last_step_before_the_end(app: Celery) -> None:
    members = group(s(app, "add", number) for number in range(4)).skew(start=1, stop=2.5)
    assert [task.options["countdown"] for task in members.tasks] == [1.0, 2.0, 2.0, 2.0]
    assert group(s(app, "add", 1), s(app, "add", 2)).skew(2).tasks[1].options["countdown"] == 3.0


def test_links_of_a_group_raise_an_error_that_says_what_to_do(app: Celery) -> None:
    with pytest.raises(TypeError, match="use a chord"):
        group(s(app, "add", 1), s(app, "add", 2)).apply_async(link=s(app, "note"))


def test_a_chord_without_a_body_is_refused(app: Celery) -> None:
    with pytest.raises(InvalidCall, match=r"has no body; write chord\(header\)\(body\)"):
        chord([s(app, "add", 1)], app=app).apply_async()


def test_the_error_names_an_unknown_kind_of_signature() -> None:
    with pytest.raises(InvalidCall, match="'tower'"):
        signature({"task": "x", "args": [], "kwargs": {}, "options": {}, "subtask_type": "tower", "immutable": False})


def test_a_task_that_is_not_registered_here_is_sent_by_its_name(app: Celery, sent: Sent) -> None:
    far = app.signature("elsewhere.task", args=(1,))
    (far | s(app, "add", 2)).apply_async()
    assert [message.task for message in sent.one.messages] == ["elsewhere.task", "add"]
    with pytest.raises(NotRegistered):
        far()


# --- with transactions and the server --------------------------------------------------------------


def test_a_canvas_leaves_with_its_transaction_or_not_at_all(app: Celery, sent: Sent) -> None:
    with transaction.manager:
        result = group(s(app, "add", 1), s(app, "add", 2)).apply_async()
        assert sent == []
        with pytest.raises(StillEnlisted):
            result[0].get()
        with pytest.raises(StillEnlisted):
            result.get()
    assert isinstance(sent.one.root, GroupNode)
    transaction.begin()
    group(s(app, "add", 1), s(app, "add", 2)).apply_async()
    transaction.abort()
    assert len(sent) == 1


def test_the_recorder_of_the_plugin_sees_each_task(app: Celery) -> None:
    with recording() as dispatched:
        chain(s(app, "add", 1), s(app, "add", 2)).apply_async()
    assert [(call.task, call.args) for call in dispatched] == [("add", (1,)), ("add", (2,))]


def test_one_canvas_is_one_workflow(app: Celery) -> None:
    result = chain(s(app, "add", 1), s(app, "add", 2)).apply_async()
    described = app.temporal.call(lambda client: client.get_workflow_handle(result.id).describe(), 10)
    assert (described.workflow_type, described.status) == ("chain", WorkflowExecutionStatus.RUNNING)


def test_a_group_is_restored_from_the_canvas_that_holds_it(app: Celery) -> None:
    plain = group(s(app, "add", 1), s(app, "add", 2) | s(app, "add", 3)).apply_async()
    assert app.GroupResult.restore(plain.id).as_tuple() == plain.as_tuple()
    header = chord([s(app, "add", 1), s(app, "add", 2)], s(app, "total")).apply_async().parent
    assert app.GroupResult.restore(header.id).as_tuple() == header.as_tuple()
    assert app.GroupResult.restore("there-is-no-such-group") is None


def test_a_group_result_made_by_hand_is_saved_restored_and_deleted(app: Celery) -> None:
    mine = app.GroupResult(f"mine-{app.oid}", [app.AsyncResult("a"), app.AsyncResult("b")])
    assert app.GroupResult.restore(mine.id) is None
    mine.save()
    found = app.GroupResult.restore(mine.id)
    assert isinstance(found, GroupResult)
    assert found == mine
    mine.delete()
    wait_until(lambda: app.GroupResult.restore(mine.id) is None)


NO_SIGNATURES: dict[str, tuple[Any, str]] = {
    "group of tasks": (lambda app, add: group([add, add]), r"group\(\) takes signatures; add is a task: write add\.s"),
    "group of numbers": (lambda app, add: group(1, 2), r"group\(\) takes signatures, such as task\.s\(1\); 1 is int"),
    "group of a text": (lambda app, add: group("ab"), r"'ab' is str"),
    "chain of tasks": (lambda app, add: chain(add, add), r"chain\(\) takes signatures; add is a task: write add\.s"),
    "body": (lambda app, add: chord([add.s(1)])(add), r"the body of chord\(\) takes signatures; add is a task"),
    "link": (lambda app, add: add.apply_async((1,), link="f"), r"'f' names no task that is known here"),
    "link of a number": (
        lambda app, add: add.apply_async((1,), link=5),
        r"link and link_error take signatures.*; 5 is",
    ),
    "link of a dict": (lambda app, add: add.apply_async((1,), link={"a": 1}), r"\{'a': 1\} is dict"),
    "errback": (lambda app, add: add.s(1).on_error("f").delay(), r"such as task\.s\(\); 'f' names no task"),
    "priority": (lambda app, add: add.apply_async((1,), priority=99), r"priority=99; it takes 0 to 9"),
}


@pytest.mark.parametrize("name", NO_SIGNATURES)
def test_an_enlisted_call_refuses_at_once_what_is_no_signature(app: Celery, sent: Sent, name: str) -> None:
    call, why = NO_SIGNATURES[name]
    with transaction.manager, pytest.raises(InvalidCall, match=why):
        call(app, app.tasks["add"])
    assert sent == []


def test_a_known_task_can_be_linked_by_its_name(app: Celery, sent: Sent) -> None:
    app.tasks["add"].apply_async((1,), link="note", link_error=app.tasks["note"])
    assert [node.message.task for node in (*sent.one.root.links, *sent.one.root.errbacks)] == ["note", "note"]
