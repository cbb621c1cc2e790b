"""Turns a tree back into signatures, for `self.request.callbacks` and `errbacks` of a running task."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..context import Context
from ..message.body import read_body
from ..message.message import OWN_OPTIONS, Message
from ..message.nodes import ChainNode, ChordNode, GroupNode, Node, TaskNode
from ..message.tree import Tree
from ..payload import Payload
from ..security.signed_places import check_linked
from .chain import _chain
from .chord import chord
from .group import group
from .stamps import STAMPED

if TYPE_CHECKING:
    from ..interfaces import AppLike


class Linked:
    """The callbacks and errbacks of a task. They are decoded on first use, because few tasks look at them."""

    def __init__(self, app: AppLike, message: Message, payloads: Sequence[Payload]) -> None:
        """:param payloads: the payloads that came with the message."""
        self._app = app
        self._message = message
        self._tree = None if message.linked is None else payloads[message.linked :]

    @functools.cached_property
    def _nodes(self) -> tuple[Sequence[Node], Sequence[Node]]:
        root = Tree.decode(self._tree).root if self._tree else None
        if not isinstance(root, GroupNode):
            return (), ()
        check_linked(self._app, self._message, root)
        return root.links, root.errbacks

    @functools.cached_property
    def callbacks(self) -> list[Any] | None:
        """Return the signatures that run if the task succeeds; None without any."""
        return signatures_of(self._app, self._nodes[0])

    @functools.cached_property
    def errbacks(self) -> list[Any] | None:
        """Return the signatures that run if the task fails; None without any."""
        return signatures_of(self._app, self._nodes[1])


class LinkedContext(Context):
    """`self.request` of a task with callbacks or errbacks."""

    linked: Linked

    @functools.cached_property
    def callbacks(self) -> Any:
        return self.linked.callbacks

    @functools.cached_property
    def errbacks(self) -> Any:
        return self.linked.errbacks


def signatures_of(app: AppLike, nodes: Sequence[Node]) -> list[Any] | None:
    """Return the signatures of nodes; None without nodes."""
    found: list[Node] = []
    for node in nodes:
        found += node.members if isinstance(node, GroupNode) and node.of_links else [node]
    return [signature_of(app, node) for node in found] or None


def signature_of(app: AppLike, node: Node) -> Any:
    """Return the signature whose plan is this node."""
    if isinstance(node, ChainNode):
        return _chain([signature_of(app, step) for step in node.steps], app=app)
    if isinstance(node, GroupNode):
        return group([signature_of(app, member) for member in node.members], app=app)
    if isinstance(node, ChordNode):
        return chord([signature_of(app, member) for member in node.header], signature_of(app, node.body), app=app)
    return _of_task(app, node)


def _of_task(app: AppLike, node: TaskNode) -> Any:
    message = node.message
    body = read_body(message, app.conf["accept_content"])
    headers = message.read_headers()
    stamps = headers.pop("stamps", None) or {}
    options = {option: value for option, part in OWN_OPTIONS.items() if (value := getattr(message, part)) is not None}
    if stamped := headers.pop(STAMPED, None):
        options |= {STAMPED: stamped, **stamps}
    if headers:
        options["headers"] = headers
    for option, nodes in (("link", node.links), ("link_error", node.errbacks)):
        if nodes:
            options[option] = signatures_of(app, nodes)
    return app.signature(
        message.task, args=tuple(body["args"]), kwargs=body["kwargs"], options=options, immutable=not node.takes
    )
