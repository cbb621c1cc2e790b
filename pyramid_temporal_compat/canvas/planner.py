"""From signatures to a tree: who asks for a canvas plans all of it at once, and sends it as one.

Each kind of signature plans itself (`_plan`): it does what its `apply_async` means, but what would leave is a node
of the tree, and the ids of all that follows are known before anything has run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..context import worker_frame
from ..exceptions import InvalidCall, PayloadTooLarge
from ..lists import as_list
from ..message.message import Message
from ..message.nodes import GroupNode, Node, TaskNode
from ..message.tree import MOST, Tree, Unit
from ..payload.bounds import MOST_BYTES
from .tree_ids import Ids

if TYPE_CHECKING:
    from ..interfaces import AppLike


@dataclass(frozen=True)
class Place:
    """Where a signature stands among others, as freezing writes it into its options."""

    id: str | None = None
    """The id to have, if it has none."""
    group_id: str | None = None
    group_index: int | None = None
    root_id: str | None = None
    parent_id: str | None = None


@dataclass(frozen=True)
class Lineage:
    """What comes before a task in its tree."""

    root_id: str | None = None
    parent_id: str | None = None
    priority: int | None = None
    follows: bool = False
    """Whether anything comes before, so that not all the arguments are known yet."""
    takes: bool = True
    """Whether what came before is put in front of the arguments."""
    chord: str | None = None
    """The result of the chord whose header it is in."""

    def after(self, message: Message) -> Lineage:
        """That of what follows a task."""
        return Lineage(message.root_id, message.id, message.priority, follows=True)

    def within(self, chord: str | None) -> Lineage:
        return replace(self, chord=chord)

    def given(self, takes: bool) -> Lineage:
        return self if takes else replace(self, takes=False)


@dataclass(frozen=True)
class Planned:
    """A signature that was planned."""

    result: Any
    node: Node
    last: Lineage
    """That of what follows."""
    trail: Any
    """What the task that asks for it counts among its children: what comes first."""


class PlannedCall:
    """The call of one task of a canvas. It makes the task's message, and gives it to the planner instead of sending it.

    A task class with an `apply_async` of its own gets this object as the option `planned`, and passes it on.
    """

    def __init__(self, lineage: Lineage) -> None:
        self.lineage = lineage
        self.leaf: TaskNode | None = None
        self.links: list[Any] = []
        self.errbacks: list[Any] = []

    def take(self, message: Message, links: Any, errbacks: Any) -> None:
        """Keep the message of the call, and the `links` and `errbacks` that the call adds to the signature's."""
        self.leaf = TaskNode(message.copy(chord=self.lineage.chord) if self.lineage.chord else message)
        self.links, self.errbacks = as_list(links), as_list(errbacks)


class Planner:
    """Plans one tree."""

    def __init__(self, app: AppLike, ids: Ids) -> None:
        self.app = app
        self.ids = ids

    def leaf(self, signature: Any, args: Any, kwargs: Any, options: Mapping[str, Any], lineage: Lineage) -> Planned:
        """Plan a single task: do what its `apply_async` does, up to the message."""
        own = {key: value for key, value in options.items() if key not in NOT_SENT}
        own["task_id"] = task_id = self.ids.claim(options.get("task_id"))
        if lineage.follows or lineage.root_id is not None:
            own.update(root_id=lineage.root_id, parent_id=lineage.parent_id)
        if lineage.priority is not None and self.app.conf["task_inherit_parent_priority"]:
            own["priority"] = lineage.priority
        call = PlannedCall(lineage)
        result = signature._plan_call(call, args, kwargs, own)
        if call.leaf is None or call.leaf.message.id != task_id:
            raise InvalidCall(
                f"task {signature.task!r} is part of a canvas, and its apply_async() did not call the one that it "
                "overrides with the task_id that it was given: pass **options on"
            )
        message = call.leaf.message
        takes = lineage.takes and not signature.immutable
        node = replace(
            call.leaf,
            takes=takes,
            links=self.callbacks(as_list(options.get("link")) + call.links, lineage.after(message)),
            errbacks=self.linked(as_list(options.get("link_error")) + call.errbacks, lineage.after(message)),
        )
        return Planned(result, node, lineage.after(message), result)

    def callbacks(self, signatures: Any, lineage: Lineage) -> tuple[Node, ...]:
        """The nodes of what is run with a result. Several tasks are a group, groups beside them are their own."""
        made = [self.app.signature(found) for found in as_list(signatures)]
        group: Any = type(self.app.signature("celery.group")).TYPES["group"]
        single = [found for found in made if not isinstance(found, group)]
        if len(made) == 1 or not single:
            return self.linked(made, lineage)
        groups = [found for found in made if isinstance(found, group)]
        *nodes, last = self.linked([*groups, group(single, app=self.app)], lineage)
        assert isinstance(last, GroupNode)
        return (*nodes, replace(last, of_links=True))

    def linked(self, signatures: Any, lineage: Lineage) -> tuple[Node, ...]:
        """The nodes of callbacks or error callbacks."""
        made = (self.app.signature(found) for found in as_list(signatures))
        return tuple(signature._plan(self, (), {}, {}, lineage).node for signature in made)


NOT_SENT = frozenset(
    {"chain", "chord", "immutable", "link", "link_error", "producer", "publisher", "connection", "router"}
)
"""Options of a signature that are about its place in a canvas, or about Celery's broker: no message carries them."""


def send(signature: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
    """Plan a canvas and enlist it; gives its result."""
    app: AppLike = signature.app
    options = dict(options)
    manager = options.pop("transaction_manager", None)
    add_to_parent = options.pop("add_to_parent", True)
    planned = plan(signature, args, kwargs, options, Ids())
    app.enlist(as_unit(planned.node, app), manager)
    frame = worker_frame()
    if frame is not None and add_to_parent:
        frame[0].add_trail(planned.trail)
    return planned.result


def plan(
    signature: Any, args: Any, kwargs: Any, options: Mapping[str, Any], ids: Ids, lineage: Lineage | None = None
) -> Planned:
    """The plan of a whole canvas."""
    planned: Planned = signature._plan(Planner(signature.app, ids), args, kwargs, options, lineage or Lineage())
    return planned


def as_unit(node: Node, app: AppLike) -> Unit:
    """What is enlisted for a node: a single task that nothing follows is a message."""
    if isinstance(node, TaskNode) and not node.links and not node.errbacks:
        return node.message
    tree = Tree(node, at_once=app.conf["ptemporal.canvas_at_once"], limit=app.conf["ptemporal.payload_limit"])
    if (count := len(tree.messages)) > MOST:
        raise PayloadTooLarge(
            f"the canvas {tree.summary} has {count:,} tasks, and one canvas has at most {MOST:,}: make several of it"
        )
    if tree.inflated > MOST_BYTES:
        raise PayloadTooLarge(
            f"the canvas {tree.summary} takes {tree.inflated:,} bytes before it is compressed, and the limit for that "
            f"is {MOST_BYTES:,}: make several canvases of it, or store what the tasks' arguments hold, and pass "
            "where it is"
        )
    if tree.size > tree.limit:
        raise PayloadTooLarge(
            f"the canvas {tree.summary} takes {tree.size:,} bytes, compressed, and the limit is {tree.limit:,} "
            "(ptemporal.payload_limit; the server takes at most 2 MiB): make several canvases of it, or store what "
            "the tasks' arguments hold, and pass where it is"
        )
    return tree


def without(options: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    dropped = frozenset(keys)
    return {key: value for key, value in options.items() if key not in dropped}
