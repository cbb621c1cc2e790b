"""Record a row of this release, for the tests of later releases: `python -m tests.outbox.record_rows`.

There is one file for each version. It is written once and kept for ever.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from pyramid_temporal_compat.message.body import write_body
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.message.nodes import ChainNode, TaskNode
from pyramid_temporal_compat.message.tree import Tree, Unit
from pyramid_temporal_compat.outbox import row_format
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.codecs import Compression, Encryption, chain

FOLDER = Path(__file__).parent / "rows"
CODEC = chain([Compression(200), Encryption({"old": bytes(range(32))})])


def units() -> list[Unit]:
    first = Message("shop.pack", "one", write_body({"args": ["caf\xe9", 2], "kwargs": {"to": "x"}}, "json"), "items")
    second = first.copy(
        id="two",
        body=(Payload({"encoding": b"binary/plain", "compression": b"\xff"}, b"\x00\xff" * 300),),
        eta=datetime.datetime(2030, 1, 2, tzinfo=datetime.timezone.utc),
        priority=3,
        headers={"tenant": "acme"},
    )
    tree = Tree(ChainNode("three", (TaskNode(first.copy(id="three/1")), TaskNode(second.copy(id="three/2", eta=None)))))
    return [first, second, tree]


if __name__ == "__main__":
    for name, codec in (("plain", chain(())), ("encrypted", CODEC)):
        path = FOLDER / f"version_{row_format.VERSION}_{name}.json"
        if path.exists():
            raise SystemExit(f"{path} is there: raise row_format.VERSION if rows are written otherwise now")
        path.write_bytes(row_format.encode_units(units(), codec))
