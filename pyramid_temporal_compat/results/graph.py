"""Graphs of results: which task sent which other task, and their states. As text, and for Graphviz."""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TextIO

from .. import states


class CycleError(Exception):
    """The graph has a cycle, so its nodes can't be put in order."""


STATE_COLOURS: Mapping[str, str] = {
    states.SUCCESS: "palegreen",
    states.FAILURE: "salmon",
    states.REVOKED: "lightgray",
    states.RETRY: "khaki",
    states.STARTED: "lightblue",
}


class GraphFormatter:
    """Writes the lines of a graph for Graphviz. Subclass it to change them.

    `label` returns the text that names a node.
    """

    scheme: Mapping[str, Any] = {"shape": "box", "style": "filled", "fontname": "Helvetica"}
    edge_scheme: Mapping[str, Any] = {"arrowhead": "vee"}
    graph_scheme: Mapping[str, Any] = {}

    def __init__(self, root: Any = None, type: str | None = None, id: str | None = None, **scheme: Any) -> None:
        self.root = root
        self.type = type or "digraph"
        self.id = id or "dependencies"
        self.scheme = {**self.scheme, **scheme}

    def label(self, obj: Any) -> Any:
        return obj

    def head(self) -> str:
        """Return the first line."""
        return f"{self.type} {self.id} {{{self._attributes({**self.graph_scheme}, line='graph')}"

    def tail(self) -> str:
        """Return the last line."""
        return "}"

    def node(self, obj: Any) -> str:
        """Return the line of a node."""
        return f"    {_quoted(self.label(obj))}{self._attributes({**self.scheme, **self.of(obj)})}"

    terminal_node = node

    def of(self, obj: Any) -> Mapping[str, Any]:
        """Return the attributes of a node that is a result: its label and the colour of its state."""
        state = getattr(obj, "state", None)
        if state is None:
            return {}
        name = getattr(obj, "name", None) or type(obj).__name__
        return {"label": f"{name}\n{obj}\n{state}", "fillcolor": STATE_COLOURS.get(state, "white")}

    def edge(self, a: Any, b: Any) -> str:
        """Return the line of an edge."""
        arrow = "->" if self.type == "digraph" else "--"
        ends = f"{_quoted(self.label(a))} {arrow} {_quoted(self.label(b))}"
        return f"    {ends}{self._attributes(self.edge_scheme)}"

    def _attributes(self, attributes: Mapping[str, Any], line: str = "") -> str:
        if not attributes:
            return ""
        written = ", ".join(f"{name}={_quoted(value)}" for name, value in attributes.items())
        return f"\n    {line} [{written}]" if line else f" [{written}]"

    def __call__(self, obj: Any) -> Any:
        return self.label(obj)


class DependencyGraph:
    """A directed graph: each object with the objects that its edges lead to."""

    def __init__(
        self, it: Iterable[tuple[Any, Iterable[Any]]] | None = None, formatter: GraphFormatter | None = None
    ) -> None:
        self.formatter = formatter or GraphFormatter()
        self.adjacent: dict[Any, list[Any]] = {}
        if it is not None:
            self.update(it)

    def add_arc(self, obj: Any) -> None:
        """Add an object without edges."""
        self.adjacent.setdefault(obj, [])

    def add_edge(self, a: Any, b: Any) -> None:
        """Add an edge from `a`, which is in the graph, to `b`."""
        self.adjacent[a].append(b)

    def connect(self, graph: DependencyGraph) -> None:
        """Add the objects and edges of another graph."""
        self.adjacent.update(graph.adjacent)

    def update(self, it: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Add objects, each with the objects that its edges lead to."""
        found = [(obj, list(others)) for obj, others in it]
        for obj, _ in found:
            self.add_arc(obj)
        for obj, others in found:
            self.adjacent[obj] += others

    def topsort(self) -> list[Any]:
        """Return the objects in an order in which each object comes after the objects that its edges lead to."""
        try:
            return list(graphlib.TopologicalSorter(self.adjacent).static_order())
        except graphlib.CycleError as error:
            raise CycleError(
                f"the graph has a cycle: the edges of {error.args[1]!r} lead back to the first object"
            ) from None

    def valency_of(self, obj: Any) -> int:
        """Return how many edges can be reached from the object."""
        return sum(len(self.adjacent.get(reached, ())) for reached, _ in self._below(obj))

    def edges(self) -> Iterator[Any]:
        """Return the objects that have edges."""
        return (obj for obj, others in self.items() if others)

    def items(self) -> Iterable[tuple[Any, list[Any]]]:
        return self.adjacent.items()

    def format(self, obj: Any) -> Any:
        return self.formatter(obj)

    def to_dot(self, fh: TextIO, formatter: GraphFormatter | None = None) -> None:
        """Write the graph to a file in Graphviz's language."""
        draw = formatter or self.formatter
        drawn: set[Any] = set()

        def once(line: Callable[[Any], Any], obj: Any) -> None:
            if (label := draw.label(obj)) not in drawn:
                drawn.add(label)
                print(_text(line(obj)), file=fh)

        print(_text(draw.head()), file=fh)
        for obj, others in self.items():
            once(draw.node if others else draw.terminal_node, obj)
            for other in others:
                print(_text(draw.edge(obj, other)), file=fh)
        print(_text(draw.tail()), file=fh)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __getitem__(self, obj: Any) -> list[Any]:
        return self.adjacent[obj]

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, obj: Any) -> bool:
        return obj in self.adjacent

    def __repr__(self) -> str:
        return "\n".join(map(self.repr_node, self))

    def repr_node(self, obj: Any, level: int = 1, fmt: str = "{0}({1})") -> str:
        """Return the object and all objects that can be reached from it, one line each, indented by depth.

        An object that can be reached in several ways has one line.
        """
        return "\n".join(
            " " * 5 * (depth and depth + level - 1) + fmt.format(reached, self.valency_of(reached))
            for reached, depth in self._below(obj)
        )

    def _below(self, obj: Any) -> Iterator[tuple[Any, int]]:
        """Yield the object and each object that can be reached from it once, with its depth: depth first."""
        waiting, seen = [(obj, 0)], set()
        while waiting:
            reached, depth = waiting.pop()
            if reached not in seen:
                seen.add(reached)
                yield reached, depth
                waiting += [(other, depth + 1) for other in reversed(self.adjacent.get(reached, []))]


def graph_of(result: Any, intermediate: bool = False, formatter: GraphFormatter | None = None) -> DependencyGraph:
    """Return the graph of a result and its children. With `intermediate`, also if not all of them have ended."""
    graph = DependencyGraph(formatter=formatter or GraphFormatter(root=result.id, shape="oval"))
    for parent, node in result.iterdeps(intermediate=intermediate):
        graph.add_arc(node)
        if parent is not None:
            graph.add_edge(parent, node)
    return graph


def _quoted(value: Any) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _text(line: Any) -> str:
    return line.decode() if isinstance(line, bytes) else str(line)
