"""The wire format of slices and of the reports on them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyramid_temporal_compat.exceptions import InvalidTaskError
from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.message.message import Message, NewerMessage
from pyramid_temporal_compat.message.slices import (
    AttemptRecord,
    MemberOutcome,
    Slice,
    SliceMember,
    SliceReport,
    recorded_ends,
)
from pyramid_temporal_compat.payload import Payload


def text(value: Any) -> Payload:
    return Payload({"encoding": b"json/plain"}, json.dumps(value).encode())


def test_a_slice_is_read_as_it_was_written() -> None:
    first = Message("shop.add", "w/1", (text(1), text(2)), "items")
    second = Message("shop.note", "w/2", (), "items", joins=[0], follows=[])
    steps = [SliceMember(Message("shop.add", f"w/{n}", (), "items"), (), follows=True, takes=n == 4) for n in (3, 4)]
    part = Slice(0.25, (SliceMember(first), SliceMember(second, (text("before"),)), *steps))
    head, *payloads = part.encode()
    read = Slice.decode(head.data, payloads).members
    assert [(each.message.id, each.message.task, each.message.body, each.payloads) for each in read] == [
        ("w/1", "shop.add", first.body, ()),
        ("w/2", "shop.note", (), (text("before"),)),
        ("w/3", "shop.add", (), ()),
        ("w/4", "shop.add", (), ()),
    ]
    assert [(each.follows, each.takes) for each in read] == [
        (False, False),
        (False, False),
        (True, False),
        (True, True),
    ]
    assert Slice.decode(head.data, payloads).seconds == 0.25
    assert part.summary == "slice of 4: shop.add(), shop.note(), shop.add(), shop.add()"


def test_a_step_takes_the_result_before_it_in_front_of_what_it_has() -> None:
    linked = Message("shop.add", "w/2", (text(2),), "items", linked=0)
    step = SliceMember(linked, (text("tree"),), follows=True, takes=True).after(text("result"))
    assert (step.message.joins, step.message.linked, step.payloads) == (0, 1, (text("result"), text("tree")))
    alone = SliceMember(linked, (text("tree"),), follows=True).after(text("result"))
    assert (alone.message, alone.payloads, alone.follows) == (linked, (text("tree"),), False)


def test_the_ends_that_a_heartbeat_carries() -> None:
    report = SliceReport(OUTCOMES, ("w/5",))
    assert recorded_ends([json.loads(json.dumps({wire.ENDS: report.written()}, default=list))]) == report
    for heartbeat in ([], ["text"], [{}], [{wire.ENDS: 1}], [{wire.ENDS: {"members": [{}]}}]):
        assert recorded_ends(heartbeat) is None


OUTCOMES = (
    MemberOutcome("w/1", "shop.add", 0.001, Payload({"encoding": b"json/plain"}, b'{"a": 1.0}')),
    MemberOutcome("w/2", "shop.add", 0.001, Payload({"encoding": b"binary/plain", "x": b"\xff"}, b"\x00\xff")),
    MemberOutcome("w/3", "shop.add", 0.0, record=AttemptRecord("no tea", "LookupError", ({"text": "no tea"},))),
    MemberOutcome("w/4", "shop.add", 0.0, record=AttemptRecord("later", wire.RETRY, (), False, 1.5, {"retries": 1})),
)


def test_a_report_is_read_as_it_was_written() -> None:
    report = SliceReport(OUTCOMES, ("w/5",), ("w/6", "shop.add"), "ptemporal.slice:1")
    assert SliceReport.decode(report.encode()) == report


def test_a_report_tells_people_how_each_member_ended() -> None:
    written = json.loads(SliceReport(OUTCOMES).encode().data)
    assert [(each["id"], each["state"]) for each in written["members"]] == [
        ("w/1", "SUCCESS"),
        ("w/2", "SUCCESS"),
        ("w/3", "FAILURE"),
        ("w/4", "Retry"),
    ]
    assert written["members"][0]["result"] == {"text": '{"a": 1.0}'}


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {},
        {"members": [{}]},
        {"members": [{"id": "", "task": "t", "seconds": 1, "result": {"text": ""}}]},
        {"members": [{"id": "a", "task": "t", "seconds": "x", "result": {"text": ""}}]},
        {"members": [{"id": "a", "task": "t", "seconds": 1, "result": {"text": 1}}]},
        {
            "members": [
                {"id": "a", "task": "t", "seconds": 1, "ended": {"text": "", "type": "", "final": 1, "delay": []}}
            ]
        },
        {"members": [], "given_back": [1]},
        {"members": [], "rest": ["a"]},
        {"members": 3},
    ],
)
def test_what_is_no_report_is_refused(found: Any) -> None:
    with pytest.raises(InvalidTaskError, match="not the report of a slice"):
        SliceReport.read(found)


@pytest.mark.parametrize("data", [b"", b"{no JSON", b"[" * 100_000])
def test_bytes_that_are_no_report_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidTaskError, match="not the report of a slice"):
        SliceReport.decode(Payload({}, data))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[]",
        b"{}",
        b'{"ptemporal.slice": 1, "seconds": 1, "members": [[{}, 1]]}',
        b'{"ptemporal.slice": 1, "seconds": 1, "members": [[{}, -1]]}',
        b'{"ptemporal.slice": 1, "seconds": 1, "members": [[1, 0]]}',
        b'{"ptemporal.slice": 1, "seconds": "x", "members": []}',
        b'{"ptemporal.slice": 1, "seconds": 1, "members": 7}',
    ],
)
def test_what_is_no_slice_is_refused(head: bytes) -> None:
    with pytest.raises(InvalidTaskError):
        Slice.decode(head, [])


def test_a_slice_of_a_newer_release_is_left_to_a_newer_worker() -> None:
    with pytest.raises(NewerMessage):
        Slice.decode(b'{"ptemporal.slice": 2, "seconds": 1, "members": []}', [])
