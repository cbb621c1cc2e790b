"""Makes a tree of a canvas. The caller plans the whole canvas at once, and sends it as one unit.

Each kind of signature plans itself in `_plan`. This does what its `apply_async` does, but makes nodes of the tree
instead of sending messages. So the ids of all tasks are known before any task runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..celery_names.lists import as_list
from ..context import worker_frame
from ..exceptions import InvalidCall, PayloadTooLarge
from ..message.message import Message
from ..message.nodes import GroupNode, Node, TaskNode
from ..message.tree import MOST, Tree, Unit, tree_options
from ..payload.bounds import MOST_BYTES
from ..security.signed_places import with_signed_places
from .abstract import CallableTask
from .tree_ids import Ids

if TYPE_CHECKING:
    from ..interfaces import AppLike


@dataclass(frozen=True)
class Place:
    """The ids around a signature. Freezing writes them into its options."""

    id: str | None = None
    """The id for a signature that has none."""
    group_id: str | None = None
    group_index: int | None = None
    root_id: str | None = None
    parent_id: str | None = None


@dataclass(frozen=True)
class Lineage:
    """The tasks before a task in its tree, as far as its message needs them."""

    root_id: str | None = None
    parent_id: str | None = None
    priority: int | None = None
    follows: bool = False
    """Whether a task comes before, so that not all arguments are known yet."""
    takes: bool = True
    """Whether the result of the task before becomes the first argument."""
    chord: str | None = None
    """The id of the result of the chord that has the task in its header."""

    def after(self, message: Message) -> Lineage:
        """Return the lineage of the tasks that follow a task."""
        return Lineage(message.root_id, message.id, message.priority, follows=True)

    def within(self, chord: str | None) -> Lineage:
        """Return this lineage for a member of a chord's header; None for a task outside of a header."""
        return replace(self, chord=chord)

    def given(self, takes: bool) -> Lineage:
        """Return this lineage. If `takes` is false, the task gets no result of the task before."""
        return self if takes else replace(self, takes=False)


@dataclass(frozen=True)
class Planned:
    """The plan of one signature."""

    result: Any
    node: Node
    last: Lineage
    """The lineage of the tasks that follow."""
    trail: Any
    """The result that the calling task adds to its children: the result of the first task."""


class PlannedCall:
    """The call of one task of a canvas. The task gives its message to this object instead of sending it.

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
    """Plans one tree: makes a node for each signature, and gives out the ids."""

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
                f"task {signature.task!r} is part of a canvas, and its apply_async() did not call the inherited one "
                "with the same task_id; pass **options on to super().apply_async()"
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
        """Return the nodes of callbacks. Several single tasks become one group; each group stays a group."""
        made = [self._callback(found) for found in as_list(signatures)]
        group: Any = type(self.app.signature("celery.group")).TYPES["group"]
        single = [found for found in made if not isinstance(found, group)]
        if len(made) == 1 or not single:
            return self.linked(made, lineage)
        groups = [found for found in made if isinstance(found, group)]
        *nodes, last = self.linked([*groups, group(single, app=self.app)], lineage)
        assert isinstance(last, GroupNode)
        return (*nodes, replace(last, of_links=True))

    def linked(self, signatures: Any, lineage: Lineage) -> tuple[Node, ...]:
        """Return the nodes of callbacks or error callbacks."""
        made = (self._callback(found) for found in as_list(signatures))
        return tuple(signature._plan(self, (), {}, {}, lineage).node for signature in made)

    def _callback(self, found: Any) -> Any:
        """Return the signature that a `link` or `link_error` gives. A task's name is one where the task is known."""
        if isinstance(found, str) and found not in self.app.tasks:
            raise InvalidCall(
                f"link and link_error take signatures, such as task.s(); {found!r} names no task that is known here: "
                f"signature({found!r}) is for a task that only workers know"
            )
        is_signature = isinstance(found, Mapping) and isinstance(found.get("task"), str)
        if not isinstance(found, (str, CallableTask)) and not is_signature:
            raise InvalidCall(
                f"link and link_error take signatures, such as task.s(); {found!r} is {type(found).__name__}"
            )
        return self.app.signature(found)


NOT_SENT = frozenset(
    {"chain", "chord", "immutable", "link", "link_error", "producer", "publisher", "connection", "router"}
)
"""Options that no message carries, because they are about the place in a canvas or about Celery's broker."""


def send(signature: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
    """Plan a canvas, enlist it, and return its result."""
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
    """Return the plan of a whole canvas."""
    planned: Planned = signature._plan(Planner(signature.app, ids), args, kwargs, options, lineage or Lineage())
    return planned


def as_unit(node: Node, app: AppLike) -> Unit:
    """Return what to enlist for a node: a message for a task without callbacks, otherwise a tree."""
    node = with_signed_places(app, node)
    if isinstance(node, TaskNode) and not node.links and not node.errbacks:
        return node.message
    tree = Tree(node, **tree_options(app.conf))
    if (count := len(tree.messages)) > MOST:
        raise PayloadTooLarge(
            f"the canvas {tree.summary} has {count:,} tasks, and the limit is {MOST:,}; split it into several canvases"
        )
    if tree.inflated > MOST_BYTES:
        raise PayloadTooLarge(
            f"the canvas {tree.summary} takes {tree.inflated:,} bytes before it is compressed, and the limit for that "
            f"is {MOST_BYTES:,}; split it into several canvases, or store the data of the tasks' arguments and "
            "pass its address"
        )
    if tree.size > tree.limit:
        raise PayloadTooLarge(
            f"the canvas {tree.summary} takes {tree.size:,} bytes, compressed, and the limit is {tree.limit:,} "
            "(ptemporal.payload_limit; the server takes at most 2 MiB); split it into several canvases, or store the "
            "data of the tasks' arguments and pass its address"
        )
    return tree


def without(options: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return the options without these keys."""
    dropped = frozenset(keys)
    return {key: value for key, value in options.items() if key not in dropped}
