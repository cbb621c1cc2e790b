"""Bundles: many single tasks of one transaction leave as one workflow, in one start.

Which tasks a transaction will have is not known when the first of them gets its id. So the ids that a transaction hands
out are alike but for their last four digits, and those digits at 0000 are the id of the workflow that holds them all,
should they become a bundle. Whoever has only a task's id finds it: in a workflow of its own, or else in that one.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from .message import Message
from .tree import LIMIT, Group, Task, Tree

DIGITS = 4
LENGTH = 36
"""Of a UUID as text."""
MOST = 1000
"""Tasks of one bundle: some 6,000 events of a history, which may have 51,200."""
LARGEST = 448 * 1024
"""Bytes that the messages of a bundle take together, about; from 512 KiB on the client library warns of each start."""
LARGE = 64 * 1024
"""A message that takes more bytes leaves by itself."""
ENVELOPE = 600
"""Bytes that the rest of a message takes, about."""
FEW = 4
"""So many tasks are asked for one by one: to find out whether they are of one bundle costs as much."""


def new_id() -> str:
    while True:
        found = str(uuid.uuid4())
        if bundle_of(found) != found:
            return found


def bundle_of(task_id: str) -> str:
    """The workflow that holds the task if it was bundled; nothing for an id that can't have been."""
    if len(task_id) != LENGTH or task_id[8] != "-" or "/" in task_id:
        return ""
    return task_id[:-DIGITS] + "0" * DIGITS


def may_be_bundled(task_ids: Sequence[str]) -> dict[str, list[str]]:
    """Those that may have left together, by the bundle that they would be in."""
    found: dict[str, list[str]] = {}
    for task_id in task_ids:
        if bundle := bundle_of(task_id):
            found.setdefault(bundle, []).append(task_id)
    return {bundle: members for bundle, members in found.items() if len(members) > FEW}


class Block:
    """Ids that may become a bundle. Belongs to one transaction, and to one queue: what waits for one queue's workers
    must not hold up another's."""

    def __init__(self) -> None:
        self._prefix = new_id()[:-DIGITS]
        self._count = self._size = 0

    @property
    def bundle(self) -> str:
        return self._prefix + "0" * DIGITS

    @property
    def full(self) -> bool:
        return self._count >= MOST or self._size >= LARGEST

    def new_id(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count:04x}"

    def count(self, message: Message) -> None:
        if can_be_bundled(message):
            self._size += _size(message)


def can_be_bundled(unit: Any) -> bool:
    """Whether it loses nothing by it: the server itself holds back what has an `eta`, and a call with a retry policy
    of its own is tried as often as that says."""
    return isinstance(unit, Message) and unit.eta is None and unit.tries is None and _size(unit) <= LARGE


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
            members = tuple(Task(message) for message in large[home])
            tree = Tree(Group(home, members), at_once=at_once, bundle=True, limit=limit)
            packed += [tree] if tree.size <= limit else large[home]
            del large[home]
    return packed
