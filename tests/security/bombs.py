"""Bombs: small payloads that stand for much memory or time. They are made here, so that no large file is kept."""

from __future__ import annotations

import json
import zlib

from pyramid_temporal_compat.message.tree import MARK
from pyramid_temporal_compat.payload import Payload

JSON = {"encoding": b"json/plain"}
SAME_HASH = 2**61 - 1
"""All multiples of this number have the hash 0."""
COLLIDING = 82_000
"""A set of as many took 74 seconds."""


def compressed(content_type: str, data: bytes) -> Payload:
    metadata = {
        "encoding": b"binary/compressed",
        "content-type": content_type.encode(),
        "content-encoding": b"utf-8",
        "compression": b"application/x-gzip",
    }
    return Payload(metadata, zlib.compress(data))


def lists(count: int = 20_000_000) -> bytes:
    """JSON of as many empty lists: 60 MB, which zlib packs into 61 KB."""
    return b"[" + b"[]," * count + b"0]"


def colliding(marker: str = "set", count: int = COLLIDING) -> bytes:
    """JSON of a set, or a dict, whose members all have the same hash."""
    numbers = [number * SAME_HASH for number in range(count)]
    members = [[number, 1] for number in numbers] if marker == "dict" else numbers
    return json.dumps({"__type__": marker, "__value__": members}).encode()


def colliding_pairs(count: int) -> list[list[int]]:
    """Pairs of numbers whose tuples all have the same hash, by Python's own formula: every pair, in its first step,
    is mixed with constants that are no secret."""
    first, second, start, size = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64

    def turned(number: int, bits: int) -> int:
        return ((number << bits) | (number >> (64 - bits))) % size

    wanted = turned(12345 * pow(first, -1, size) % size, 33)
    pairs: list[list[int]] = []
    number = 0
    while len(pairs) < count:
        number += 1
        mixed = turned((start + number * second) % size, 31) * first % size
        other = (wanted - mixed) * pow(second, -1, size) % size
        if other < SAME_HASH:
            pairs.append([number, other])
    return pairs


def sets_in_sets(levels: int = 300, members: int = 800_000) -> bytes:
    """JSON of sets in sets, the innermost of which fits in none. Each level would copy all that is below it."""
    opened, closed = '{"__type__":"set","__value__":[', "]}"
    innermost = f"{opened}[{','.join('0' * members)}],[{{}}]{closed}"
    return f"{opened * levels}{innermost}{closed * levels}".encode()


def canvas(payloads: int = 9_000_000) -> list[Payload]:
    """A canvas whose archive holds as many empty payloads: 92 KB."""
    return archive(b"0,0," * (payloads - 1) + b"0,0", b"")


def packed_plan(plan: bytes) -> list[Payload]:
    """A canvas of one payload, whose plan is this."""
    return archive(b"%d,0" % len(plan), plan)


def archive(places: bytes, data: bytes) -> list[Payload]:
    """A canvas whose archive has payloads of these sizes and this data."""
    mark = Payload(JSON, json.dumps({MARK: 1, "packed": "zlib"}, separators=(",", ":")).encode())
    head = b'{"kinds":[{}],"payloads":[' + places + b"]}\n"
    return [mark, Payload({"encoding": b"binary/plain"}, zlib.compress(head + data))]


def arguments(bomb: bytes) -> bytes:
    """The arguments of a task, one of which is the bomb."""
    return b'{"args":[' + bomb + b'],"kwargs":{}}'
