"""A queue that an attacker can write to: no message runs what it should not, stays for ever, or harms the worker."""

from __future__ import annotations

import json
import uuid
import zlib
from typing import Any

import pytest

from pyramid_temporal_compat.exceptions import InvalidTaskError
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.message.tree import Tree
from pyramid_temporal_compat.payload import Payload
from tests.security.conftest import JSON, Target, whole

DEEP = 50_000
BODY = whole(b'{"args": [], "kwargs": {}}')
TREE = Payload(JSON, b'{"ptemporal-tree":1}')


def envelope(**changes: Any) -> bytes:
    plain = {"ptemporal": 1, "task": "shop.pack", "id": str(uuid.uuid4()), "queue": "q"}
    return json.dumps({**plain, **changes}, separators=(",", ":")).encode()


UNSOUND: list[dict[str, Any]] = [
    {"task": 5},
    {"task": ""},
    {"task": "a\nb"},
    {"task": "x" * 1001},
    {"task": "\ud800"},
    {"id": ["x"]},
    {"id": "a\x00b"},
    {"id": "a\x1b[2Jb"},
    {"id": None},
    {"queue": {}},
    {"queue": "/_sys/x"},
    {"queue": "a\nb"},
    {"root_id": 5},
    {"parent_id": "a\nb"},
    {"group": []},
    {"shadow": "[2026-01-01 00:00:00,000: INFO/MainProcess] ok\n"},
    {"eta": "2030-01-01T00:00:00"},
    {"eta": "0001-01-01T00:00:00+00:00"},
    {"expires": "9999-12-31T23:59:59+00:00"},
    {"sent": "0001-01-01T00:00:00+00:00"},
    {"countdown": -1},
    {"countdown": 1e300},
    {"countdown": float("nan")},
    {"countdown": "soon"},
    {"time_limit": float("inf")},
    {"time_limit": True},
    {"soft_time_limit": []},
    {"heartbeat_timeout": 0},
    {"heartbeat_timeout": -5},
    {"heartbeat_timeout": float("nan")},
    {"heartbeat_timeout": "x"},
    {"heartbeat_timeout": 10**400},
    {"retries": -1},
    {"retries": "many"},
    {"group_index": "first"},
    {"replaced_task_nesting": -1},
    {"replaced_task_nesting": "x" * 1000},
    {"priority": "high"},
    {"fairness_key": "x" * 65},
    {"fairness_weight": 0},
    {"argsrepr": 5},
    {"kwargsrepr": None},
    {"headers": []},
    {"properties": "x"},
    {"follows": 5},
]


@pytest.mark.parametrize("changes", UNSOUND, ids=lambda changes: "-".join(f"{k}={v!r:.30}" for k, v in changes.items()))
def test_what_no_call_can_have_written_is_not_read(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidTaskError, match="not a task message") as raised:
        Message.decode(envelope(**changes), [BODY])
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b'{"ptemporal":1e999,"id":"1"}',
        b'{"ptemporal":' + b"9" * 5000 + b',"id":"1"}',
        b'{"ptemporal":1,"id":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"ptemporal":1,"id":"1","task":"t","queue":"q","headers":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
        b'{"ptemporal":1,"id":"\\ud800","task":"t","queue":"q"}',
        b'{"ptemporal":1',
    ],
    ids=["infinite version", "huge version", "deep id", "deep headers", "surrogate", "cut off"],
)
def test_what_only_looks_like_json_is_not_read(data: bytes) -> None:
    with pytest.raises(InvalidTaskError, match="not a task message"):
        Message.decode(data, [BODY])


def leaf(body: Any = 1, **changes: Any) -> dict[str, Any]:
    return {"task": json.loads(envelope(**changes)), "body": body, "takes": True, "links": [], "errbacks": []}


def plan(root: Any, **more: Any) -> bytes:
    return json.dumps({"root": root, "at_once": 10, **more}, separators=(",", ":")).encode()


def nested(depth: int, chain: str = "c", **changes: Any) -> bytes:
    opened, closed = b'{"chain":"%s","steps":[' % chain.encode() * depth, b"]}" * depth
    task = json.dumps(leaf(**changes)).encode()
    return b'{"root":' + opened + task + closed + b',"at_once":1}'


CYCLE = {"group": "g", "members": [leaf(), leaf()], "links": [], "errbacks": []}
GROUP = {"group": "g", "members": [leaf()], "links": [], "errbacks": []}
BAD_TREES = {
    "no root": plan(None),
    "a list": b"[]",
    "nothing": b"",
    "a body for many": plan(CYCLE),
    "a body that is not there": plan(leaf(7)),
    "a negative body": plan(leaf(-1)),
    "a body that is a list": plan(leaf([0])),
    "a body without end": plan(leaf(10**400)),
    "a body that is true": plan(leaf(True)),
    "nobody at once": plan(GROUP, at_once=0),
    "fewer than nobody": plan(GROUP, at_once=-5),
    "at once a word": plan(GROUP, at_once="all"),
    "at once true": plan(GROUP, at_once=True),
    "no steps": plan({"chain": "c", "steps": []}),
    "an id with a line end": plan({"group": "a\nb", "members": [], "links": [], "errbacks": []}),
    "an id that is a list": plan({"chain": [], "steps": [leaf()]}),
    "a member without a task": plan({"group": "g", "members": [5], "links": [], "errbacks": []}),
    "a task that is no message": plan({"task": {}, "body": 1, "takes": True, "links": [], "errbacks": []}),
    "members that are a word": plan({"group": "g", "members": "many", "links": [], "errbacks": []}),
    "nested": nested(DEEP),
    "results, each many times": plan(leaf(), before=[0] * 1000),
    "a result that is not there": plan(leaf(), before=3),
    "results that are words": plan(leaf(), before=["x"]),
    "a deep result": b'{"root":' + json.dumps(leaf()).encode() + b',"at_once":1,"before":'
    b"" + b"[" * DEEP + b"]" * DEEP + b"}",
    "an error that is none": plan(leaf(), before={"error": 5, "envelope": {}}),
    "above it anything": plan(leaf(), above={"revoked": [[]]}),
    "above it nothing that there is": plan(leaf(), above={"no": "such"}),
    "above it words": plan(leaf(), above={"first": "x", "room": []}),
    "a limit that is none": plan(leaf(), limit=-1),
    "a failure that is not there": plan(leaf(), before={"failed": 9}),
}


@pytest.mark.parametrize("data", BAD_TREES.values(), ids=BAD_TREES.keys())
def test_what_no_canvas_can_have_written_is_not_read(data: bytes) -> None:
    with pytest.raises(InvalidTaskError, match=r"not a canvas|not a task message") as raised:
        Tree.decode([TREE, Payload(JSON, data), BODY])
    assert str(raised.value).isprintable()


PACKED = b'{"ptemporal-tree":1,"packed":"zlib"}'


def archive(payloads: bytes, data: bytes, kinds: bytes = b"[{}]") -> bytes:
    return zlib.compress(b'{"kinds":' + kinds + b',"payloads":' + payloads + b"}\n" + data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zlib",
        zlib.compress(b"no line"),
        zlib.compress(b"[5]\n"),
        archive(b"[-1,0]", b"{}"),
        archive(json.dumps([10**6, 0, -(10**6), 0] * 1000).encode(), b"x" * 10**6),
        archive(b"[true,0]", b"x"),
        archive(b"[1e9,0]", b"x"),
        archive(b"[1]", b"x"),
        archive(b"[1,7]", b"x"),
        archive(b"[1,[]]", b"x"),
        archive(b"{}", b"x"),
        zlib.compress(b"[" * DEEP + b"\n"),
        zlib.compress(b" " * 200 * 2**20),
        archive(b"[2,0]", b"{}", kinds=b'[{"encoding":"\xc4\x80"}]'),
        archive(b"[2,0]", b"{}", kinds=b"[5]"),
    ],
)
def test_a_packed_canvas_that_is_a_trap_is_not_opened(data: bytes) -> None:
    with pytest.raises(InvalidTaskError, match="not a canvas"):
        Tree.decode([Payload(JSON, PACKED), Payload({"encoding": b"binary/plain"}, data)])


# --- on a real worker --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payloads",
    [
        (envelope(heartbeat_timeout=0), b"{}"),
        (envelope(id="a\nb"), b"{}"),
        (envelope(expires="9999-12-31T23:59:59+00:00", sent="1970-01-01T00:00:00+00:00"), b"{}"),
        (envelope(more=-1), b"{}"),
        (b'{"ptemporal":1', b"{}"),
        (b"", b"{}"),
        (TREE, nested(DEEP), b"{}"),
        (TREE, plan(CYCLE), b"{}"),
        (TREE, plan(GROUP, at_once=-1), b"{}"),
        (TREE, plan(leaf(), before={"failed": 0}), b"{}", b"[]"),
        (TREE, plan(leaf(), before=[0] * 100_000), b"{}"),
    ],
    ids=[
        "no heartbeat",
        "line end",
        "end of time",
        "fewer than no results",
        "cut off",
        "nothing",
        "nested",
        "shared body",
        "nobody at once",
        "failed of nothing",
        "one result for many",
    ],
)
def test_what_can_not_be_run_ends_with_an_error(target: Target, payloads: tuple[Payload | bytes, ...]) -> None:
    status = target.ended(target.start(*payloads))
    assert status.state == "FAILURE"
    assert status.error is not None
    assert status.error["type"] == "InvalidTaskError"
    assert target.ran == []
    target.still_works()


@pytest.mark.parametrize("depth", [50, 150, 240, 300])
def test_a_deep_canvas_runs_or_ends_with_an_error(target: Target, depth: int) -> None:
    workflow_id = str(uuid.uuid4())
    tree = nested(depth, workflow_id, id=f"{workflow_id}/1", queue=target.queue)
    assert target.ended(target.start(TREE, tree, BODY, id=workflow_id)).state in ("SUCCESS", "FAILURE")
    target.still_works()


def test_two_members_with_one_id_do_not_stop_the_canvas(target: Target) -> None:
    workflow_id = str(uuid.uuid4())
    members = [leaf(id=f"{workflow_id}/1", queue=target.queue) for _ in range(2)]
    group = {"group": workflow_id, "members": members, "links": [], "errbacks": []}
    assert target.ended(target.start(TREE, plan(group), b"1", b"1", id=workflow_id)).state == "FAILURE"
    assert len(target.ran) == 1
    target.still_works()


def test_only_registered_tasks_run(target: Target) -> None:
    for name in ("os.system", "subprocess.Popen", "builtins.eval", "tests.security.conftest.Target", "__import__"):
        task_id = target.start(envelope(task=name, queue=target.queue), b'"touch here"')
        assert not target.status(task_id).ended  # it waits for a worker that knows it
    for name in ("celery.map", "celery.starmap"):
        arguments = {"task": {"task": "os.system", "args": [], "options": {}}, "it": [["id"]]}
        body = whole(json.dumps({"args": [], "kwargs": arguments}).encode())
        task_id = target.start(envelope(task=name, queue=target.queue), body)
        status = target.ended(task_id)
        assert status.error is not None
        assert status.error["type"] == "NotRegistered", status
    target.still_works()


BODIES = {
    "nothing": b"",
    "no json": b"\xff\xfe",
    "a list": b"[1]",
    "a word": b'"x"',
    "no kwargs": b'{"args":[]}',
    "args a number": b'{"args":5,"kwargs":{}}',
    "kwargs a list": b'{"args":[],"kwargs":[1]}',
    "deep": b'{"args":[' + b"[" * DEEP + b"]" * DEEP + b'],"kwargs":{}}',
    "a huge number": b'{"args":[' + b"9" * 5000 + b'],"kwargs":{}}',
    "an unknown type": b'{"args":[{"__type__":"os.system","__value__":"id"}],"kwargs":{}}',
    "a type that is a list": b'{"args":[{"__type__":[],"__value__":1}],"kwargs":{}}',
    "a decimal that is none": b'{"args":[{"__type__":"decimal","__value__":{}}],"kwargs":{}}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_arguments_that_can_not_be_read_fail_the_task(target: Target, body: bytes) -> None:
    status = target.ended(target.start(envelope(queue=target.queue), whole(body)))
    assert status.state == "FAILURE"
    assert target.ran == []


def test_a_pickle_is_not_opened_where_it_is_not_accepted(target: Target) -> None:
    bomb = b"cbuiltins\nexec\n(S'raise SystemExit'\ntR."
    for metadata in (
        {"encoding": b"binary/pickle", "content-type": b"application/x-python-serialize"},
        {"encoding": b"binary/plain", "content-type": b"application/x-python-serialize"},
        {"encoding": b"binary/compressed", "content-type": b"application/x-python-serialize", "compression": b"zlib"},
    ):
        status = target.ended(target.start(envelope(queue=target.queue), Payload(metadata, bomb)))
        assert status.error is not None
        assert status.error["type"] == "ContentDisallowed"
    target.still_works()
