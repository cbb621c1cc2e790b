"""The nodes of a canvas and their parts."""

from __future__ import annotations

from dataclasses import replace

from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.message.nodes import ChainNode, ChordNode, GroupNode, Node, TaskNode
from pyramid_temporal_compat.message.tree import Tree
from pyramid_temporal_compat.payload import Payload


def task(id: str, *links: Node, takes: bool = True) -> TaskNode:
    return TaskNode(Message("shop.pack", id, (Payload({}, id.encode()),), "q"), takes, links)


HEADER = GroupNode("w/g", (task("w/1"), task("w/2", task("w/link"))), errbacks=(task("w/err"),))
CHORD = ChordNode("w/3", "w/h", (HEADER, task("w/4", takes=False)), task("w/3"))
CHAIN = ChainNode("w/3", (task("w/0", takes=False), CHORD))


def ids(*nodes: Node) -> list[str]:
    return [node.id for node in nodes]


def test_parts_come_with_the_name_of_the_field_that_holds_them() -> None:
    assert [(role, part.id) for role, part in HEADER.parts()] == [
        ("members", "w/1"),
        ("members", "w/2"),
        ("errbacks", "w/err"),
    ]
    assert [role for role, _ in CHORD.parts()] == ["header", "header", "body"]


def test_leaves_are_the_tasks_without_callbacks() -> None:
    assert ids(*CHAIN.leaves()) == ["w/0", "w/1", "w/2", "w/4", "w/3"]
    assert sorted(message.id for message in CHAIN.all_messages()) == sorted(
        ["w/0", "w/1", "w/2", "w/4", "w/3", "w/link", "w/err"]
    )


def test_width_counts_the_tasks_that_can_run_side_by_side() -> None:
    assert (CHAIN.width, CHORD.width, HEADER.width, task("w/1").width) == (3, 3, 2, 1)


def test_node_takes_a_result_if_the_task_that_runs_first_does() -> None:
    assert not CHAIN.takes
    assert CHORD.takes
    assert not GroupNode("w", ()).takes


def test_results_are_written_as_celery_writes_them() -> None:
    header = (("w/h", (("w/0", None), None)), [(("w/g", None), [(("w/1", None), None), (("w/2", None), None)])])
    header[1].append((("w/4", None), None))
    assert CHAIN.result() == (("w/3", header), None)
    assert CHORD.first_result()[0] == ("w/h", None)


def test_result_of_an_empty_group_has_a_message_that_names_it() -> None:
    assert GroupNode("w", ()).result_message.id == "w"
    assert CHAIN.result_message.id == "w/3"


def test_with_parts_changes_the_parts_and_nothing_else() -> None:
    changed = CHORD.with_parts(lambda node: replace(node, takes=False) if isinstance(node, TaskNode) else node)
    assert (changed.id, changed.group_id, changed.body.takes) == ("w/3", "w/h", False)


def test_tree_is_read_as_it_was_written() -> None:
    more = replace(CHORD, errback_subjects=("w/9",)), replace(HEADER, of_links=True)
    tree = Tree(replace(CHAIN, steps=(*CHAIN.steps, *more)))
    assert Tree.decode(tree.encode()) == tree
