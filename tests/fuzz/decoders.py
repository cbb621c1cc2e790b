"""The decoders that are fuzzed, each with what it may raise and with its corpus: honest input and known attacks."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.control.channel import read_reply
from pyramid_temporal_compat.control.receiver import read_request
from pyramid_temporal_compat.exceptions import (
    CeleryError,
    ContentDisallowed,
    ImproperlyConfigured,
    InvalidArguments,
    InvalidTaskError,
    PayloadTooLarge,
    SecurityError,
)
from pyramid_temporal_compat.message.body import write_body
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.message.nodes import ChainNode, ChordNode, GroupNode, TaskNode
from pyramid_temporal_compat.message.tree import Tree
from pyramid_temporal_compat.message.wire_names import added_trees
from pyramid_temporal_compat.migrate.carried import BrokerCall, Rules, unit_of
from pyramid_temporal_compat.outbox.row_format import decode_units, encode_units
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.annotations import rebuild_value
from pyramid_temporal_compat.payload.codecs import Compression, Encryption, chain, pack, unpack
from pyramid_temporal_compat.payload.errors import from_plain, to_wire
from pyramid_temporal_compat.payload.serializers import deserialize, serialize
from pyramid_temporal_compat.payload.types import Unreadable, dumps, loads
from pyramid_temporal_compat.worker.workflows.node_values import read_values, written

JSON = {"encoding": b"json/plain"}
READS = (Unreadable, PayloadTooLarge, ContentDisallowed)
"""What reading a value may raise."""
VALUES: list[Any] = [
    None,
    [1, 2.5, "text", True, {"a": [{}]}],
    {1, 2, 3},
    frozenset({"a", (1, 2)}),
    {"__type__": "set", "__value__": [1]},
    [datetime(2026, 1, 2, tzinfo=timezone.utc), date(2026, 1, 2), timedelta(1), Decimal("1.5"), UUID(int=7), b"\xff"],
    float("nan"),
]
PLAIN: list[Any] = [None, [1, 2.5, "text", True, {"a": [{}]}], {"b": {"c": [[]]}}, "x" * 50]
KEY = Encryption({"k": b"\0" * 32})


@dataclass(frozen=True)
class Decoder:
    read: Callable[[bytes], Any]
    raises: tuple[type[Exception], ...]
    corpus: Sequence[bytes]


def message(number: int = 0) -> Message:
    body = write_body({"args": [1], "kwargs": {"a": "b"}}, "json")
    return Message("shop.pack", f"id-{number}", body, "q", headers={"stamps": {"a": 1}}, argsrepr="(1,)", retries=1)


def node(number: int) -> TaskNode:
    return TaskNode(message(number), links=(TaskNode(message(number + 100)),))


TREES = [
    Tree(GroupNode("g", (node(1), node(2)))),
    Tree(ChainNode("c", (node(1), GroupNode("h", (node(2),)), node(3)))),
    Tree(ChordNode("d", "e", (node(1), node(2)), node(3), errbacks=(node(4),))),
]


def both(payload: Payload) -> bytes:
    return pack(payload)


def payloads_of(data: bytes) -> list[Payload]:
    return [unpack(part) for part in data.split(b"\0--\0")]


def joined(payloads: Sequence[Payload]) -> bytes:
    return b"\0--\0".join(pack(payload) for payload in payloads)


def read_message(data: bytes) -> Any:
    return Message.decode(data, [Payload(JSON, b"{}")]).read_headers()


def read_compressed(kind: str) -> Callable[[bytes], Any]:
    metadata = {"encoding": b"binary/compressed", "content-type": b"application/json", "compression": kind.encode()}
    return lambda data: deserialize(Payload(metadata, data), ["json"])


def read_value(serializer: str) -> Callable[[bytes], Any]:
    metadata = serialize(1, serializer).metadata
    return lambda data: deserialize(Payload(metadata, data), [serializer])


def read_error(data: bytes) -> Any:
    found = loads(data)
    return str(from_plain(found)) if isinstance(found, dict) else None


def error() -> bytes:
    try:
        try:
            raise KeyError("a")
        except KeyError as cause:
            raise ValueError("text", 5, {"a": 1}) from cause
    except ValueError as raised:
        return dumps(to_wire(raised))


def archive() -> bytes:
    head = json.dumps({"kinds": [{"encoding": "json/plain"}], "payloads": [2, 0]}).encode()
    return zlib.compress(head + b"\n{}")


def inflated(data: bytes) -> Any:
    """Read a canvas whose archive holds these bytes: a fuzzer would hardly ever break zlib's checksum the right way."""
    mark = Payload(JSON, b'{"ptemporal-tree":1,"packed":"zlib"}')
    return Tree.decode([mark, Payload({}, zlib.compress(data))])


REQUEST = {"command": "revoke", "arguments": {"task_id": ["a"], "terminate": False}}
PARTS = [Payload(JSON, b"1"), Payload(JSON, b"[2]")]
KEEPS = Tree(GroupNode("g", (node(1),)), keeps=True)

BRIDGE_KEEPS = (ValueError, TypeError, AttributeError, LookupError, RecursionError, ArithmeticError)
"""The bridge keeps a message for any error. Here only memory and time count."""
SHOP = Celery("fuzz", set_as_current=False)
SHOP.task(lambda *args: None, name="shop.add")
STEP = {"task": "shop.add", "args": [1], "kwargs": {}, "options": {"task_id": "s"}, "subtask_type": None}
GROUP = {"task": "celery.group", "kwargs": {"tasks": [STEP]}, "options": {}, "subtask_type": "group"}
CARRIED = [
    json.dumps(
        [[1], {"a": 2}, {"callbacks": [STEP], "errbacks": None, "chain": [STEP, GROUP], "chord": None}]
    ).encode(),
    json.dumps([[1], {}, {"chain": [{"subtask_type": "chord", "kwargs": {"header": GROUP, "body": STEP}}]}]).encode(),
    json.dumps({"task": "shop.add", "id": "a", "args": [1], "kwargs": {}, "callbacks": [STEP], "utc": True}).encode(),
]


def read_carried(data: bytes) -> None:
    """Read a message of Celery's with this body, and with these headers."""
    body = base64.b64encode(data).decode()
    envelope = {"body": body, "headers": {"task": "shop.add", "id": "a"}, "properties": {"body_encoding": "base64"}}
    for raw in (json.dumps(envelope).encode(), data):
        taken = {"tag": "", "queue": "q", "size": len(raw), "envelope": base64.b64encode(raw).decode()}
        unit_of(SHOP, BrokerCall.read(taken), Rules())


DECODERS: dict[str, Decoder] = {
    "json": Decoder(loads, READS, [dumps(value) for value in VALUES]),
    "yaml": Decoder(read_value("yaml"), READS, [serialize(value, "yaml").data for value in PLAIN] + [b"&a [*a]"]),
    "msgpack": Decoder(read_value("msgpack"), READS, [serialize(value, "msgpack").data for value in PLAIN]),
    **{
        name: Decoder(
            read_compressed(name), (*READS, ImproperlyConfigured), [serialize([1, "a" * 99], "json", name).data]
        )
        for name in ("zlib", "bzip2", "lzma")
    },
    "payload": Decoder(unpack, READS, [both(part) for part in PARTS]),
    "codecs": Decoder(
        lambda data: chain([Compression(), KEY]).decode(unpack(data)),
        (*READS, SecurityError),
        [both(KEY.encode(part)) for part in PARTS] + [both(Compression(1).encode(Payload(JSON, b"1" * 500)))],
    ),
    "error": Decoder(read_error, READS, [error()]),
    "annotation": Decoder(
        lambda data: rebuild_value(dict[int, set[int]], loads(data)),
        (*READS, InvalidArguments),
        [b'{"1":[1,2],"3":[]}'],
    ),
    "message": Decoder(read_message, (InvalidTaskError, *READS), [message().encode()[0].data]),
    "canvas": Decoder(
        lambda data: Tree.decode(payloads_of(data)),
        (InvalidTaskError, *READS),
        [joined(tree.encode()) for tree in TREES],
    ),
    "archive": Decoder(inflated, (InvalidTaskError,), [zlib.decompress(archive())]),
    "results": Decoder(
        lambda data: read_values(unpack(data)), (InvalidTaskError, *READS), [both(written(PARTS, KEEPS))]
    ),
    "added": Decoder(
        lambda data: added_trees(Payload({"ptemporal-added": data}, b"1")), (InvalidTaskError,), [b"[]", b"[[]]"]
    ),
    "row": Decoder(
        lambda data: decode_units(data, chain([])),
        (InvalidTaskError, *READS),
        [encode_units([message(), TREES[0]], chain([]))],
    ),
    "order": Decoder(read_request, (CeleryError,), [json.dumps(REQUEST).encode()]),
    "carried": Decoder(read_carried, (CeleryError, *BRIDGE_KEEPS), CARRIED),
    "reply": Decoder(lambda data: read_reply(Payload(JSON, data)), (), [b'{"ok":"pong"}', dumps({1, 2})]),
}
