"""Results whose children were forged: a circle, rubbish, the same child thousands of times."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from temporalio.api.command.v1 import Command, CompleteWorkflowExecutionCommandAttributes
from temporalio.api.common.v1 import Payload as ProtoPayload
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import CommandType

from pyramid_temporal_compat.client.read_status import failed_status, result_status
from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.results.graph import DependencyGraph
from pyramid_temporal_compat.results.result import AsyncResult
from tests.security.conftest import PATIENCE, Target


def forge_result(target: Target, workflow_id: str, children: Any) -> str:
    """End a task's workflow with a result that names these children."""
    metadata = {"encoding": b"json/plain", wire.CHILDREN: json.dumps(children).encode()}
    result = Payloads(payloads=[ProtoPayload(metadata=metadata, data=b'"forged"')])
    end = Command(
        command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        complete_workflow_execution_command_attributes=CompleteWorkflowExecutionCommandAttributes(result=result),
    )
    return target.forge_end(workflow_id, end)


def task(id: str) -> Any:
    return [[id, None], None]


def test_children_that_form_a_circle_come_to_an_end(target: Target) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    forge_result(target, first, [task(second), [["a group", None], [task(first), task(second)]]])
    forge_result(target, second, [task(first), task(second)])
    result = target.app.AsyncResult(first)
    assert result.get_leaf() == "forged"
    assert {str(found.id) for found, _ in result.collect()} == {first, second, "a group"}
    assert {str(found.id) for found in result.graph} == {first, second, "a group"}
    assert first in repr(result.graph)


def test_a_child_that_is_named_many_times_is_asked_for_once(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    forge_result(target, second, [])
    forge_result(target, first, [task(second)] * 5000)
    asked: list[str] = []
    wait = AsyncResult._wait

    def counted(self: AsyncResult[Any], *args: Any) -> Any:
        asked.append(self.id)
        return wait(self, *args)

    monkeypatch.setattr(AsyncResult, "_wait", counted)
    assert target.app.AsyncResult(first).get_leaf() == "forged"
    assert asked == [first, second]


def nested(depth: int) -> Any:
    found = task("deep")
    for _ in range(depth):
        found = [["above", found], None]
    return found


RUBBISH = [
    *(None, 5, "x", {}, [], [1], [1, 2, 3], [None, None], [["x"], None], [[5, None], None], [["", None], None]),
    *([["x", "parent"], None], [["x", None], 5], [["x", None], [5]], [["x", None], [task("y"), [None, None]]]),
    *([[["x"], None], None], [["x", None], {"a": 1}], nested(400)),
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda found: repr(found)[:40])
def test_malformed_children_are_left_out(target: Target, rubbish: Any) -> None:
    children = [rubbish, task("a real one")]
    for status in (
        result_status(Payload({"encoding": b"json/plain", wire.CHILDREN: json.dumps(children).encode()}, b"1")),
        failed_status_with(children),
    ):
        assert status.children == [task("a real one")]
        result = target.app.AsyncResult("x")
        result._ended = status
        assert [child.id for child in result.children] == ["a real one"]
    for whole in (rubbish, {"children": 1}, "x" * 10):
        metadata = {"encoding": b"json/plain", wire.CHILDREN: json.dumps(whole).encode()}
        assert result_status(Payload(metadata, b"1")).children is None


def failed_status_with(children: Any) -> Any:
    from temporalio.exceptions import ApplicationError

    return failed_status(ApplicationError("x", {"type": "ValueError", "children": children}))


def test_a_saved_group_that_was_forged_is_not_read(target: Target) -> None:
    from pyramid_temporal_compat.client.saved_groups import SAVED, save_group

    for written in (None, "x", [1, 2], {SAVED: 1}, [["g", None], [5]]):
        group_id = str(uuid.uuid4())
        target.app.temporal.call(
            lambda client, id=group_id, it=written: save_group(client, id, it, "nowhere"), PATIENCE
        )
        assert target.app.GroupResult.restore(group_id, app=target.app) is None


def test_a_graph_of_diamonds_is_counted_and_written_at_once() -> None:
    graph = DependencyGraph([(n, [f"{n}a", f"{n}b"]) for n in range(60)])
    graph.update((f"{n}{side}", [n + 1]) for n in range(60) for side in "ab")
    graph.add_arc(60)
    assert graph.valency_of(0) == 240
    assert len(graph.repr_node(0).splitlines()) == 181


def test_a_graph_that_is_deep_or_round_is_counted_and_written() -> None:
    deep = DependencyGraph([(n, [n + 1]) for n in range(3000)])
    assert deep.valency_of(0) == 3000
    assert len(deep.repr_node(0).splitlines()) == 3001
    round_ = DependencyGraph([("a", ["b"]), ("b", ["a", "b"])])
    assert (round_.valency_of("a"), round_.repr_node("a")) == (3, "a(3)\n     b(3)")
