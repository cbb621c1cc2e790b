"""Bundles: many single tasks of one transaction leave as one workflow, in one start.

`message.ids` says how the id of a task tells which bundle it may be in.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from .ids import bundle_of, id_in_bundle, new_id
from .message import Message
from .nodes import GroupNode, TaskNode
from .tree import LIMIT, Tree

MOST = 1000
"""Tasks of one bundle: some 6,000 events of a history, which may have 51,200."""
LARGEST = 448 * 1024
"""Bytes that the messages of a bundle take together, about; from 512 KiB on the client library warns of each start."""
LARGE = 64 * 1024
"""A message that takes more bytes leaves by itself."""
ENVELOPE = 600
"""Bytes that the rest of a message takes, about."""


class Block:
    """Ids that may become a bundle. Belongs to one transaction, and to one queue: what waits for one queue's workers
    must not hold up another's."""

    def __init__(self) -> None:
        self.bundle = bundle_of(new_id())
        self._count = self._size = 0

    @property
    def full(self) -> bool:
        return self._count >= MOST or self._size >= LARGEST

    def new_id(self) -> str:
        self._count += 1
        return id_in_bundle(self.bundle, self._count)

    def count(self, message: Message) -> None:
        if can_be_bundled(message):
            self._size += _size(message)


def can_be_bundled(unit: Any) -> bool:
    """Whether it loses nothing by it: the server itself holds back what has an `eta`, and a call with a retry policy
    of its own is tried as often as that says."""
    return isinstance(unit, Message) and unit.eta is None and unit.publish_retry is None and _size(unit) <= LARGE


def _size(message: Message) -> int:
    size = len(message.body.data) + len(message.argsrepr) + len(message.kwargsrepr) + ENVELOPE
    return size + len(repr(message.headers)) if message.headers else size


def bundled(units: Sequence[Any], blocks: Collection[str], least: int, at_once: int, limit: int = LIMIT) -> list[Any]:
    """What is started for these: a bundle wherever a block has `least` messages, in the place of the first of them.

    :param limit: bytes that a start may have. Those whose bundle would have more leave one by one.
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
            tree = Tree(GroupNode(home, members), at_once=at_once, bundle=True, limit=limit)
            packed += [tree] if tree.size <= limit else large[home]
            del large[home]
    return packed
