"""How large a canvas may be: what the server would refuse after the commit is refused where it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exceptions import PayloadTooLarge
from ..message import Message, total_size
from ..tree import Tree

if TYPE_CHECKING:
    from ..app import Celery

ENVELOPE = 1200
"""Bytes that a task takes beside its arguments and its reprs, with room to spare."""
SEALED = 160
"""Bytes that encryption adds to a payload, with room to spare."""


def check_size(tree: Tree, app: Celery, limit: int, why: str = "the server takes at most 2 MiB") -> Tree:
    """The tree, if it takes no more than `limit` bytes; else `PayloadTooLarge`, which names its largest task."""
    messages = tree.messages
    if 2 * sum(map(_about, messages)) < limit and not any(message.headers for message in messages):
        return tree  # to write it all out takes longer than to plan it
    payloads = tree.encode()
    size = total_size(payloads) + (SEALED * len(payloads) if app.conf["ptemporal_encryption_keys"] else 0)
    if size > limit:
        largest = max(messages, key=_about)
        raise PayloadTooLarge(
            f"{tree.task} of {len(messages)} tasks: they take {size:,} bytes together, and the limit is {limit:,} "
            f"(ptemporal.payload_limit; {why}); the largest is {largest.summary[:80]}, with "
            f"{len(largest.body.data):,} bytes of arguments: store such data and pass where it is, or ask for fewer"
        )
    return tree


def _about(message: Message) -> int:
    return len(message.body.data) + len(message.argsrepr) + len(message.kwargsrepr) + ENVELOPE
