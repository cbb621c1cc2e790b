"""Graphs of results, as text and for Graphviz."""

from __future__ import annotations

import io
from typing import Any

import pytest

from pyramid_temporal_compat.results.graph import CycleError, DependencyGraph, GraphFormatter, graph_of


class Result:
    """A result that has ended, with its children."""

    def __init__(self, id: str, *children: Result) -> None:
        self.id, self.children, self.state, self.name = id, children, "SUCCESS", "shop.pack"

    def iterdeps(self, intermediate: bool = False) -> Any:
        yield None, self
        for child in self.children:
            yield self, child

    def __str__(self) -> str:
        return self.id


def test_a_graph_is_read_as_text() -> None:
    graph = DependencyGraph([("a", ["b", "c"]), ("b", ["c"]), ("c", [])])
    assert graph.topsort() == ["c", "b", "a"]
    assert [graph.valency_of(node) for node in "abcd"] == [3, 1, 0, 0]
    assert list(graph.edges()) == ["a", "b"]
    assert repr(DependencyGraph([("a", ["b"]), ("b", [])])).splitlines() == ["a(1)", "     b(0)", "b(0)"]


def test_a_graph_with_a_cycle_has_no_order() -> None:
    with pytest.raises(CycleError, match="lead back"):
        DependencyGraph([("a", ["b"]), ("b", ["a"])]).topsort()


def test_results_are_drawn_with_their_states() -> None:
    file = io.StringIO()
    graph_of(Result("1", Result("2"))).to_dot(file)
    drawn = file.getvalue()
    assert drawn.startswith("digraph dependencies {")
    assert '"1" -> "2"' in drawn
    assert 'label="shop.pack\\n2\\nSUCCESS"' in drawn


def test_a_subclass_of_the_formatter_names_the_nodes() -> None:
    class Short(GraphFormatter):
        def label(self, obj: Any) -> str:
            return f"task {obj}"

    file = io.StringIO()
    graph_of(Result("1", Result("2"))).to_dot(file, Short())
    assert '"task 1" -> "task 2"' in file.getvalue()
