"""The outline of a canvas: each of its tasks with its place and its state, as text or for Graphviz."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from temporalio.client import Client

from ..graph import COLOURS
from ..tree import Chain, Chord, Group, Node, Task, id_of
from .groups import tree_of
from .members import describe_tree, ends_so_far, workflow_of
from .status import status_of


@dataclass(frozen=True)
class Line:
    """One task, or one node that holds others."""

    depth: int
    id: str
    text: str
    state: str
    of_task: bool


async def outline(client: Client, task_id: str) -> list[Line]:
    """The canvas that a task is in, from its root; of a task alone, the one line; none for one that is not known."""
    root_id = task_id.partition("/")[0]
    tree = await tree_of(client, root_id)
    if tree is None:
        status = await status_of(client, task_id)
        return [Line(0, task_id, status.name or "", status.state, True)] if status.known else []
    drawn = list(_drawn(tree.root, 0, ""))
    states: dict[str, str] = {}
    workflows = dict.fromkeys(workflow_of(id) or id for _, id, _, _ in drawn)
    for workflow_id in (root_id, *workflows):
        if await describe_tree(client, workflow_id) is not None:
            ended = await ends_so_far(client, workflow_id, [id for _, id, _, _ in drawn])
            states |= {id: status.state for id, status in ended.items() if (workflow_of(id) or id) == workflow_id}
    lines = []
    for depth, id, text, of_task in drawn:
        state = states.get(id) or ((await status_of(client, id)).state if of_task else "")
        lines.append(Line(depth, id, text, state, of_task))
    return lines


def _drawn(node: Node, depth: int, place: str) -> Iterator[tuple[int, str, str, bool]]:
    if isinstance(node, Task):
        yield depth, id_of(node), f"{place}{node.message.summary}", True
        for kind, nodes in (("link", node.links), ("on error", node.errbacks)):
            for linked in nodes:
                yield from _drawn(linked, depth + 1, f"{kind}: ")
        return
    yield depth, f"{type(node).__name__.lower()} {id_of(node)}", f"{place}{type(node).__name__.lower()}", False
    if isinstance(node, Chain):
        parts = [("", step) for step in node.steps]
    elif isinstance(node, Group):
        parts = [("", member) for member in node.members]
    else:
        assert isinstance(node, Chord)
        parts = [*(("header: ", member) for member in node.header), ("body: ", node.body)]
        parts += [("on error: ", errback) for errback in node.errbacks]
    for name, part in parts:
        yield from _drawn(part, depth + 1, name)


def as_text(lines: list[Line]) -> str:
    rows = [("  " * line.depth + line.text, line.state, line.id if line.of_task else "") for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{text:<{widths[0]}}  {state:<{widths[1]}}  {id}".rstrip() for text, state, id in rows)


def as_dot(lines: list[Line]) -> str:
    """For Graphviz: an arrow from each node to those in it, or linked to it."""
    written = ["digraph canvas {", '    node [shape="box", style="filled", fontname="Helvetica"]']
    above: list[Line] = []
    for line in lines:
        label = f"{line.text}\n{line.state}" if line.of_task else line.text
        colour = COLOURS.get(line.state, "white")
        written.append(f"    {_quoted(line.id)} [label={_quoted(label)}, fillcolor={_quoted(colour)}]")
        del above[line.depth :]
        if above:
            written.append(f"    {_quoted(above[-1].id)} -> {_quoted(line.id)}")
        above.append(line)
    return "\n".join([*written, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
