"""A message on the wire."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.message.nodes import TaskNode
from pyramid_temporal_compat.message.tree import Tree
from pyramid_temporal_compat.payload import Payload

BODY = Payload({"encoding": b"json/plain"}, b'{"args": [], "kwargs": {}}')
MESSAGE = Message("shop.pack", "one", (BODY,), "parcels", headers={"tenant": 7})


def test_message_that_was_read_is_sent_on_byte_by_byte() -> None:
    written = b'{"ptemporal":1,"task":"shop.pack","id":"one","queue":"parcels","of a newer release":[1]}'
    read = Message.decode(written, [BODY])
    assert read.encode() == (Payload({"encoding": b"json/plain"}, written), BODY)


def test_changed_message_is_written_anew() -> None:
    envelope, _ = MESSAGE.encode()
    changed = Message.decode(envelope.data, [BODY]).copy(id="two")
    assert Message.decode(changed.encode()[0].data, [BODY]).id == "two"


@pytest.mark.parametrize("parts", [{"id": "one", "body": ()}, {"id": "one", "body": (), "queue": "q", "tenant": 7}])
def test_message_with_a_missing_or_unknown_part_is_an_error(parts: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r": (queue|tenant)$"):
        Message("shop.pack", **parts)


def test_messages_do_not_share_their_headers() -> None:
    one, two = (Message("shop.pack", name, (), "parcels") for name in "ab")
    assert one.headers is not two.headers
    assert one.properties is not two.properties


def test_message_is_encoded_once() -> None:
    assert MESSAGE.encode()[0] is MESSAGE.encode()[0]


def test_pickled_message_leaves_its_bytes_behind() -> None:
    MESSAGE.encode()
    copied = pickle.loads(pickle.dumps(MESSAGE))
    assert copied == MESSAGE
    assert "_envelope" not in vars(copied)


def test_tree_is_encoded_once_and_its_payloads_can_be_changed_by_whoever_gets_them() -> None:
    tree = Tree(TaskNode(MESSAGE))
    payloads = tree.encode()
    payloads.append(BODY)
    again = tree.encode()
    assert len(again) == len(payloads) - 1
    assert again[0] is payloads[0]
