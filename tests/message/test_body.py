"""The arguments of a call as payloads."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from pyramid_temporal_compat.exceptions import ContentDisallowed, InvalidTaskError
from pyramid_temporal_compat.message.body import KWARGS, WHOLE, read_body, shown, write_body
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.types import Unreadable

JSON = {"encoding": b"json/plain"}
CALLS: list[tuple[list[Any], dict[str, Any]]] = [
    ([], {}),
    ([1], {}),
    ([1, {"a": [None]}], {"b": datetime.date(2026, 1, 2)}),
    ([], {"a": 1}),
    ([{"a": 1}], {}),
    ([{}], {"args": [], "kwargs": {}}),
]


def message(*body: Payload) -> Message:
    return Message("shop.pack", "1", body, "q")


@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("args", "kwargs"), CALLS[:2] + CALLS[3:])
def test_arguments_go_there_and_back(args: Any, kwargs: Any, serializer: str, compression: str | None) -> None:
    body = write_body({"args": args, "kwargs": kwargs}, serializer, compression)
    assert read_body(message(*body), [serializer]) == {"args": args, "kwargs": kwargs}


def test_arguments_in_json_are_one_payload_each_and_the_named_ones_the_last() -> None:
    args, kwargs = CALLS[2]
    body = write_body({"args": args, "kwargs": kwargs}, "json")
    assert [payload.data for payload in body[:2]] == [b"1", b'{"a":[null]}']
    assert [KWARGS in payload.metadata for payload in body] == [False, False, True]
    assert read_body(message(*body), ["json"]) == {"args": args, "kwargs": kwargs}


def test_arguments_of_another_serializer_are_one_payload() -> None:
    (whole,) = write_body({"args": [1, 2], "kwargs": {"a": 1}}, "pickle")
    assert WHOLE in whole.metadata
    with pytest.raises(ContentDisallowed):
        read_body(message(whole), ["json"])


def test_a_mark_counts_only_where_this_package_writes_it() -> None:
    marked = Payload({**JSON, KWARGS: b"1"}, b'{"a":1}')
    whole = Payload({**JSON, WHOLE: b"1"}, b'{"args":[5],"kwargs":{}}')
    assert read_body(message(marked, whole), ["json"])["args"] == [{"a": 1}, {"args": [5], "kwargs": {}}]
    assert read_body(message(whole, marked), ["json"]) == {"args": [{"args": [5], "kwargs": {}}], "kwargs": {"a": 1}}


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (Payload({**JSON, KWARGS: b"1"}, b"[1]"), InvalidTaskError),
        (Payload({**JSON, KWARGS: b"1"}, b"null"), InvalidTaskError),
        (Payload({**JSON, WHOLE: b"1"}, b"[1]"), InvalidTaskError),
        (Payload({**JSON, WHOLE: b"1"}, b'{"args":[]}'), InvalidTaskError),
        (Payload({"encoding": b"json/protobuf"}, b"{}"), Unreadable),
        (Payload({}, b"1"), Unreadable),
    ],
)
def test_a_body_that_no_call_has_is_refused(payload: Payload, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_body(message(payload), ["json"])


def test_all_arguments_share_one_bound() -> None:
    half = Payload(JSON, b"[" + b"0," * 900_000 + b"0]")
    assert len(read_body(message(half, half), ["json"])["args"]) == 2
    with pytest.raises(Unreadable, match="values"):
        read_body(message(half, half, half), ["json"])


def test_arguments_are_shown_without_being_decoded() -> None:
    payloads = (
        Payload(JSON, b'"\xc3\xa9"'),
        Payload(JSON, b"[" + b"1," * 1000 + b"1]"),
        Payload({"encoding": b"binary/protobuf"}, b"\xff"),
    )
    args, kwargs = shown([*payloads, Payload({**JSON, KWARGS: b"1"}, b'{"a":1}')])
    assert args.startswith('("é", [1,1,')
    assert args.endswith("..., <binary/protobuf>)")
    assert kwargs == '{"a":1}'
    assert shown([]) == ("()", "{}")


def test_payloads_that_follow_the_body_of_an_activity_are_split_off() -> None:
    parts = tuple(Payload(JSON, str(number).encode()) for number in range(3))
    own, others = message(*parts).copy(more=2).apart()
    assert (own.body, own.more, others) == (parts[:1], 0, parts[1:])
    alone = message(*parts)
    assert alone.apart() == (alone, ())
    with pytest.raises(InvalidTaskError, match="4 payloads follow its body"):
        message(*parts).copy(more=4).apart()
