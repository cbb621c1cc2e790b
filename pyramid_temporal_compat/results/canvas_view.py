"""Show a canvas: each of its tasks with its place and its state, as text or for Graphviz."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecutionDescription

from ..client.canvas_additions import CanvasAdditions
from ..client.history import tree_of
from ..client.members import READERS, nearest_tree, statuses_in_tree
from ..client.status import Status
from ..client.task_status import status_of
from ..message.ids import prefix_of, root_of, workflow_of
from ..message.nodes import Node, TaskNode
from .graph import STATE_COLOURS


@dataclass(frozen=True)
class Line:
    """One line of the outline: a task, or a node that has other nodes in it."""

    depth: int
    id: str
    text: str
    state: str
    is_task: bool


async def outline(client: Client, task_id: str) -> list[Line]:
    """Return the lines of the canvas that a task is in, from its root on.

    A single task has one line. A task that the server does not know has none.
    """
    root_id = root_of(task_id)
    tree = await tree_of(client, root_id)
    additions = CanvasAdditions(client)
    if tree is None:
        status = await status_of(client, task_id)
        if not status.known:
            return []
        await additions.read([task_id])
        if task_id not in additions.single_tasks or task_id not in additions.replacements():
            return [Line(0, task_id, status.name or "", status.state, True)]
    root = additions.single_tasks[task_id] if tree is None else tree.root
    drawn = list(_drawn(root, 0, "", additions, additions.replacements()))
    while await additions.read(workflow_of(id) or id for _, id, _, is_task in drawn if is_task):
        drawn = list(_drawn(root, 0, "", additions, additions.replacements()))
    states = await _states(client, [id for _, id, _, is_task in drawn if is_task])
    return [Line(depth, id, text, states.get(id, ""), is_task) for depth, id, text, is_task in drawn]


async def _states(client: Client, tasks: Sequence[str]) -> dict[str, str]:
    """Return the state of each task. Describes each workflow once, and reads its history once."""
    turn = asyncio.Semaphore(READERS)
    trees: dict[str, WorkflowExecutionDescription] = {}
    members: dict[str, list[str]] = {}
    single: list[str] = []
    of_workflow: dict[str, list[str]] = {}
    for id in tasks:
        of_workflow.setdefault(workflow_of(id) or id, []).append(id)

    async def find(workflow_id: str, ids: Sequence[str]) -> None:
        async with turn:
            found = await nearest_tree(client, prefix_of(workflow_id))
        if found is None:
            single.extend(ids)
        else:
            trees[found.id] = found
            members.setdefault(found.id, []).extend(ids)

    async def look(tree: WorkflowExecutionDescription) -> Mapping[str, Status]:
        async with turn:
            return await statuses_in_tree(client, tree, members[tree.id])

    async def look_at_single(id: str) -> Mapping[str, Status]:
        async with turn:
            return {id: await status_of(client, id)}

    await asyncio.gather(*(find(workflow_id, ids) for workflow_id, ids in of_workflow.items()))
    asked = await asyncio.gather(*map(look, trees.values()), *map(look_at_single, single))
    return {id: _shown(status) for statuses in asked for id, status in statuses.items()}


NOT_RUN = "NOT RUN"
"""Shown for a link or error callback of a task that ended otherwise. `AsyncResult` says REVOKED."""


def _shown(status: Status) -> str:
    return NOT_RUN if status.never_ran else status.state


def _drawn(
    node: Node, depth: int, place: str, additions: CanvasAdditions, replacing: Mapping[str, deque[Node]]
) -> Iterator[tuple[int, str, str, bool]]:
    """Yield depth, id, text and whether it is a task, for a node and all nodes in it.

    :param replacing: for each task id the replacements that are still to be drawn. A replacement keeps the task's id.
    """
    parts = [(LABELS[role], part) for role, part in node.parts()]
    if isinstance(node, TaskNode):
        replaced = bool(replacing.get(node.id))
        name = f"replaced {len(replacing[node.id])} {node.id}" if replaced else node.id
        yield depth, name, f"{place}{node.message.summary}", not replaced
        if replaced:
            parts.insert(0, ("replaced by: ", replacing[node.id].popleft()))
        else:
            parts = [*(("added: ", added) for added in additions.added.get(node.id, ())), *parts]
    else:
        yield depth, f"{node.kind} {node.id}", f"{place}{node.kind}", False
    for label, part in parts:
        yield from _drawn(part, depth + 1, label, additions, replacing)


LABELS = {
    "steps": "",
    "members": "",
    "header": "header: ",
    "body": "body: ",
    "links": "link: ",
    "errbacks": "on error: ",
}
"""The text before a part in the outline, by the field of the node that holds the part."""


def as_text(lines: list[Line]) -> str:
    """Return the outline as text: place, state and id of each line in columns."""
    rows = [("  " * line.depth + line.text, line.state, line.id if line.is_task else "") for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{text:<{widths[0]}}  {state:<{widths[1]}}  {id}".rstrip() for text, state, id in rows)


def as_dot(lines: list[Line]) -> str:
    """Return the outline in Graphviz's language, with an arrow from each node to its parts and links."""
    written = ["digraph canvas {", '    node [shape="box", style="filled", fontname="Helvetica"]']
    above: list[Line] = []
    for line in lines:
        label = f"{line.text}\n{line.state}" if line.is_task else line.text
        colour = STATE_COLOURS.get(line.state, "white")
        written.append(f"    {_quoted(line.id)} [label={_quoted(label)}, fillcolor={_quoted(colour)}]")
        del above[line.depth :]
        if above:
            written.append(f"    {_quoted(above[-1].id)} -> {_quoted(line.id)}")
        above.append(line)
    return "\n".join([*written, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
