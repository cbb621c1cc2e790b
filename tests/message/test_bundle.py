"""How many messages one bundle takes."""

from __future__ import annotations

from pyramid_temporal_compat.message.bundle import LARGEST, MOST, Block
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.payload import Payload


def taken(size: int) -> int:
    """Return how many messages with so many bytes of arguments a bundle takes."""
    block = Block()
    count = 0
    while not block.full:
        body = (Payload({"encoding": b"json/plain"}, b"x" * size),)
        block.count(Message("shop.add", block.new_id(), body, "items", argsrepr="(1,)", kwargsrepr="{}"))
        count += 1
    return count


def test_a_bundle_takes_a_thousand_small_messages() -> None:
    assert taken(10) == MOST


def test_the_bytes_of_arguments_bound_a_bundle() -> None:
    assert taken(10_000) <= LARGEST // 10_000 + 1
