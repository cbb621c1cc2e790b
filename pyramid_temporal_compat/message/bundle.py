"""Bundles: many single tasks of one transaction are sent as one workflow, with one start request.

`message.ids` says how the id of a task tells which bundle it may be in.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from .ids import bundle_of, id_in_bundle, new_bundle_id
from .message import ENVELOPE, Message
from .nodes import GroupNode, TaskNode
from .tree import LIMIT, Tree

MOST = 1000
"""The limit on the tasks of a bundle. They make some 6,000 events of a history, which may have 51,200."""
LARGEST = 448 * 1024
"""Bytes that the messages of a bundle may take together, roughly. From 512 KiB on the client library logs a warning."""
COMPRESSED_ENVELOPE = 64
"""Bytes that a message takes in a large bundle besides its arguments and headers, at most. A large bundle is
compressed, and its messages are much alike. So a thousand small messages fit into one bundle, which takes 15 kB."""
LARGE = 64 * 1024
"""A message of more bytes is sent by itself."""


class Block:
    """Hands out ids whose tasks may become one bundle. Belongs to one transaction and one queue.

    Each queue has its own bundle, so that tasks which wait for the workers of one queue don't hold up another queue.
    """

    def __init__(self) -> None:
        self.bundle = new_bundle_id()
        self._count = self._size = 0

    @property
    def full(self) -> bool:
        return self._count >= MOST or self._size >= LARGEST

    def new_id(self) -> str:
        self._count += 1
        return id_in_bundle(self.bundle, self._count)

    def count(self, message: Message) -> None:
        if needs_no_own_start(message) and (size := message.rough_size) <= LARGE:
            self._size += size - ENVELOPE + COMPRESSED_ENVELOPE


def needs_no_own_start(message: Message) -> bool:
    """Return whether a message can start together with others, if it is small enough.

    The server itself holds back a message with an `eta`, and a retry policy counts the attempts of one message.
    """
    return message.eta is None and message.publish_retry is None


def can_be_bundled(unit: Any) -> bool:
    """Return whether the unit is a small message that needs no start request of its own."""
    return isinstance(unit, Message) and needs_no_own_start(unit) and unit.rough_size <= LARGE


def bundled(
    units: Sequence[Any], blocks: Collection[str], least: int, *, limit: int = LIMIT, **options: Any
) -> list[Any]:
    """Return what is started for the units. If a block has `least` messages, a bundle takes the first one's place.

    :param limit: bytes that a start request may have. If a bundle would be larger, its messages are sent one by one.
    :param options: the other parts of a tree that `tree_options` returns.
    """
    found: dict[str, list[Message]] = {}
    for unit in units:
        if can_be_bundled(unit) and (block := bundle_of(unit.id)) in blocks:
            found.setdefault(block, []).append(unit)
    large = {block: messages for block, messages in found.items() if len(messages) >= least}
    taken = {message.id: block for block, messages in large.items() for message in messages}
    packed: list[Any] = []
    for unit in units:
        home = taken.get(unit.id)
        if home is None:
            packed.append(unit)
        elif home in large:
            members = tuple(TaskNode(message) for message in large[home])
            tree = Tree(GroupNode(home, members), bundle=True, limit=limit, **options)
            packed += [tree] if tree.size <= limit else large[home]
            del large[home]
    return packed
