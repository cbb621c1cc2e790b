"""Bombs that each reader gets: none takes the memory or the time that it stands for, and a worker's heart goes on."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
import time
import tracemalloc
import uuid
import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pyramid_temporal_compat.control.channel import ControlRequest, Post
from pyramid_temporal_compat.exceptions import InvalidArguments, InvalidTaskError, PayloadTooLarge
from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.message.tree import Tree
from pyramid_temporal_compat.message.wire_names import added_trees
from pyramid_temporal_compat.outbox.row_format import decode_units
from pyramid_temporal_compat.payload import Payload, bounds
from pyramid_temporal_compat.payload.annotations import rebuild_value
from pyramid_temporal_compat.payload.codecs import Compression, chain
from pyramid_temporal_compat.payload.converter import data_converter, is_refused, raise_if_refused, to_raw
from pyramid_temporal_compat.payload.headers import to_arguments
from pyramid_temporal_compat.payload.serializers import deserialize
from pyramid_temporal_compat.payload.types import Unreadable, dumps, loads
from pyramid_temporal_compat.worker.workflows.node_values import read_values
from tests.cli.project_parts import Project, children
from tests.parts import wait_until
from tests.security import bombs
from tests.security.conftest import JSON, PATIENCE, Target, whole
from tests.worker.shop import WorkerThread

MUCH = 400 * 1024 * 1024
"""Bytes that no reader may need. The bombs took 1.6 to 3 GB."""
HEARTBEAT = 10.0
"""Seconds that a heartbeat may be late: a third of what a task has by default. The bombs took 32 to 74 seconds."""
ANY = ["json", "yaml", "msgpack"]


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MUCH
    finally:
        tracemalloc.stop()


# --- values ----------------------------------------------------------------------------------------------------------

VALUES: dict[str, Callable[[], Payload]] = {
    "lists": lambda: bombs.compressed("application/json", bombs.lists()),
    "texts": lambda: bombs.compressed("application/json", b"[" + b'"",' * 15_000_000 + b"0]"),
    "a set": lambda: Payload(JSON, bombs.colliding("set")),
    "a frozenset": lambda: Payload(JSON, bombs.colliding("frozenset")),
    "a dict": lambda: Payload(JSON, bombs.colliding("dict")),
    "sets in sets": lambda: Payload(JSON, bombs.sets_in_sets()),
    "msgpack lists": lambda: bombs.compressed(
        "application/x-msgpack", b"\xdc\x75\x30" + (b"\xdc\x03\xe8" + b"\x90" * 1000) * 30_000
    ),
    "msgpack heads": lambda: bombs.compressed(
        "application/x-msgpack", (b"\xdd" + (2_000_000).to_bytes(4, "big")) * 1000 + b"\0" * 2_100_000
    ),
    "msgpack extensions": lambda: bombs.compressed(
        "application/x-msgpack", b"\xdd" + (3_000_000).to_bytes(4, "big") + b"\xd4\x05\0" * 3_000_000
    ),
    "yaml text": lambda: bombs.compressed("application/x-yaml", b"a" * 60_000_000),
    "yaml number": lambda: bombs.compressed("application/x-yaml", b"1" + b":1" * 3000),
    "yaml keys": lambda: bombs.compressed(
        "application/x-yaml", "".join(f"{number * bombs.SAME_HASH}: 1\n" for number in range(1000)).encode()
    ),
    "yaml set": lambda: bombs.compressed(
        "application/x-yaml", f"!!set {{{','.join(str(number * bombs.SAME_HASH) for number in range(1000))}}}".encode()
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_explodes_is_not_read(name: str) -> None:
    bomb = VALUES[name]()
    with little_memory(), pytest.raises(Unreadable):
        deserialize(bomb, ANY)


def test_yaml_of_too_many_values_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyramid_temporal_compat.payload.serializers.MOST_YAML_VALUES", 1000)
    for text in (b"[" + b"[]," * 1000 + b"0]", b"- 1\n" * 1000, b"".join(b"%d: \n" % key for key in range(501))):
        with pytest.raises(Unreadable, match="more than 1,000 values"):
            deserialize(bombs.compressed("application/x-yaml", text), ANY)


def test_zstd_inflates_no_further_than_other_methods() -> None:
    zstd = pytest.importorskip("backports.zstd")
    bomb = bombs.compressed("application/json", b"")
    bomb = Payload({**bomb.metadata, "compression": b"application/zstd"}, zstd.compress(b"0" * 100_000_000))
    with little_memory(), pytest.raises(PayloadTooLarge):
        deserialize(bomb, ANY)


def test_the_largest_payload_that_the_server_takes_is_read() -> None:
    assert len(loads(b"[" + b"[]," * 690_000 + b"0]")) == 690_001
    assert len(loads(b"[" + b"0," * 1_040_000 + b"0]")) == 1_040_001


def test_commas_in_texts_are_no_values() -> None:
    text = 'a, "b": [c], {d}\\' * 500_000
    assert loads(dumps([text])) == [text]


def test_a_set_of_ordinary_numbers_is_read() -> None:
    for numbers in ({*range(-50_000, 50_000)}, {number << 64 for number in range(50_000)}, {0.5, -1, -2, 2**61 - 1, 0}):
        assert loads(dumps(numbers)) == numbers


def test_what_is_nested_more_deeply_than_a_reader_follows_is_refused_in_the_view() -> None:
    deep: Any = []
    for _ in range(bounds.DEEPEST + 100):
        deep = [deep]
    with pytest.raises(TypeError, match="nested too deeply"):
        dumps(deep)
    with pytest.raises(Unreadable, match="nested too deeply"):
        loads(b"[" * 1100 + b"]" * 1100)


class Basket(BaseModel):
    prices: set[int] = set()
    items: dict[int, int] = {}
    weights: set[Decimal] = set()
    places: set[tuple[int, int]] = set()


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (set[int], [number * bombs.SAME_HASH for number in range(bombs.COLLIDING)]),
        (frozenset[uuid.UUID], [str(uuid.UUID(int=number * bombs.SAME_HASH)) for number in range(bombs.COLLIDING)]),
        (dict[int, int], {str(number * bombs.SAME_HASH): 1 for number in range(bombs.COLLIDING)}),
        (Basket, {"prices": [number * bombs.SAME_HASH for number in range(bombs.COLLIDING)]}),
        (Basket, {"items": {str(number * bombs.SAME_HASH): 1 for number in range(bombs.COLLIDING)}}),
        (Basket, {"items": {f"{number * bombs.SAME_HASH}.0": 1 for number in range(bombs.COLLIDING)}}),
        (set[Decimal], [f"{number * bombs.SAME_HASH}.0" for number in range(bombs.COLLIDING)]),
        (Basket, {"weights": [f"{number * bombs.SAME_HASH}.0" for number in range(bombs.COLLIDING)]}),
        (Basket, {"weights": [f"{number * bombs.SAME_HASH}0e-1" for number in range(bombs.COLLIDING)]}),
        (set[tuple[int, int]], bombs.colliding_pairs(bombs.COLLIDING)),
        (Basket, {"places": bombs.colliding_pairs(bombs.COLLIDING)}),
        (Basket, {"places": [[str(one), f"{other}.0"] for one, other in bombs.colliding_pairs(bombs.COLLIDING)]}),
    ],
    ids=[
        *("set", "uuids", "dict", "model's set", "model's dict", "decimals as keys", "decimals", "model's decimals"),
        *("exponents", "pairs", "model's pairs", "pairs of text"),
    ],
)
def test_an_annotation_makes_no_set_of_members_with_one_hash(annotation: Any, value: Any) -> None:
    with pytest.raises(InvalidArguments, match="have the same hash"):
        rebuild_value(annotation, value)


def test_a_list_that_names_one_number_often_becomes_a_set() -> None:
    large = bombs.SAME_HASH * 3
    assert rebuild_value(set[int], [large] * 50_000 + [5]) == {large, 5}
    assert rebuild_value(Basket, {"prices": [large] * 50_000}).prices == {large}
    weights = [text for number in range(5_000) for text in (f"{number / 4:.2f}", str(number / 4), number / 4)]
    assert len(rebuild_value(Basket, {"weights": weights}).weights) == 5_000
    places = [[number * 2**40, number] for number in range(50_000)]
    assert len(rebuild_value(Basket, {"places": places}).places) == 50_000


# --- canvases, errors, results ----------------------------------------------------------


@pytest.mark.parametrize(
    "payloads",
    [
        bombs.canvas(),
        bombs.packed_plan(b'{"root":' + bombs.lists() + b"}"),
        bombs.packed_plan(b'{"root":' + b'{"a":' * 5000 + b"0" + b"}" * 5000 + b"}"),
    ],
    ids=["payloads", "plan", "deep"],
)
def test_a_canvas_that_explodes_is_not_read(payloads: list[Payload]) -> None:
    with little_memory(), pytest.raises(InvalidTaskError):
        Tree.decode(payloads)


def test_a_canvas_that_no_worker_would_read_is_refused_in_the_view() -> None:
    headers = {"many": ["x"] * 300_000}
    from pyramid_temporal_compat.message.nodes import GroupNode, TaskNode

    tasks = [
        TaskNode(Message("shop.pack", f"g/{number}", (Payload(JSON, b"{}"),), "q", headers=headers))
        for number in range(20)
    ]
    with pytest.raises(PayloadTooLarge, match="no worker would read it"):
        Tree(GroupNode("g", tuple(tasks))).encode()


@pytest.mark.parametrize("read", [added_trees, read_values], ids=["added", "results"])
def test_results_of_a_canvas_that_explode_are_not_read(read: Callable[[Payload], Any]) -> None:
    many = [wire.write_payloads(bombs.canvas())] * 50
    results = [
        Payload({**JSON, wire.VALUES: b"1", wire.ADDED: json.dumps(many).encode()}, bombs.lists(3_000_000)),
        Payload({wire.VALUES: b"2", wire.ADDED: bombs.lists(3_000_000)}, bombs.canvas()[1].data),
    ]
    for result in results:
        with little_memory(), pytest.raises(InvalidTaskError):
            read(result)


def test_many_payloads_of_one_call_share_what_they_may_inflate_to() -> None:
    packed = Payload({"encoding": b"binary/zlib"}, zlib.compress(b"\x12" + b"\xf0\xff\xff\x0f" + b"\0" * 33_554_416))
    converter = data_converter([Compression()])
    codec = converter.payload_codec
    assert codec is not None

    async def refused_of_twenty() -> list[Any]:
        # asyncio.run() takes the repr of what it returns, which takes ten seconds for payloads that were inflated.
        return [proto for proto in await codec.decode([to_raw(packed).payload] * 20) if is_refused(proto)]

    with little_memory():
        refused = asyncio.run(refused_of_twenty())
    assert len(refused) >= 18  # 64 MiB are room for two at most
    with pytest.raises(PayloadTooLarge):
        raise_if_refused(refused[0])


def test_temporals_own_values_have_the_same_bound() -> None:
    converter = data_converter()
    proto = to_raw(Payload(JSON, bombs.lists(3_000_000))).payload
    with little_memory(), pytest.raises(ValueError, match="more than the 2,000,000 values"):
        converter.payload_converter.from_payloads([proto])


# --- a worker ----------------------------------------------------------


@contextlib.contextmanager
def beating(worker: WorkerThread) -> Iterator[None]:
    """Check that the worker's event loop, which sends the heartbeats of its tasks, is never held up for long."""
    late = [0.0]
    stop = threading.Event()

    async def beat() -> None:
        while not stop.is_set():
            began = time.monotonic()
            await asyncio.sleep(0.05)
            late[0] = max(late[0], time.monotonic() - began)

    tasks: list[Any] = []
    worker.call(lambda: tasks.append(asyncio.ensure_future(beat())))
    try:
        yield
    finally:
        stop.set()
        wait_until(lambda: tasks and tasks[0].done(), PATIENCE, "the worker's event loop stands still")
    assert late[0] < HEARTBEAT


@pytest.fixture(scope="module")
def own(temporal_address: str) -> Iterator[tuple[Target, WorkerThread]]:
    """A worker that no other test uses, and its thread."""
    target = Target(temporal_address, "bombed", accept_content=ANY, ptemporal_heartbeat_timeout=HEARTBEAT)
    with (
        target.app,
        WorkerThread(target.app, target.queue, concurrency=8, hostname=f"b{uuid.uuid4().hex[:6]}@test") as running,
    ):
        target.worker_name = running.worker.hostname
        yield target, running


def order_of(target: Target, data: bytes) -> Any:
    """What the worker answers to a request of these bytes."""
    request = ControlRequest("ping", {}, PATIENCE)
    request.value = to_raw(Payload(JSON, data))
    replies: list[Any] = []

    async def ask(client: Any) -> None:
        await Post(PATIENCE).ask(client, request, lambda node: node == target.worker_name, replies.append)

    target.app.temporal.call(ask, PATIENCE * 2)
    return replies[0][target.worker_name]


@pytest.mark.parametrize(
    "arguments",
    [
        b'{"x":' + bombs.colliding() + b"}",
        b'{"x":' + bombs.sets_in_sets(members=400_000) + b"}",
        b'{"x":[' + b"[]," * 500_000 + b"0]}",
        b"[1]",
        b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=["colliding", "sets in sets", "lists", "no arguments", "deep"],
)
def test_an_order_that_explodes_is_refused_and_a_running_task_runs_once(
    own: tuple[Target, WorkerThread], arguments: bytes
) -> None:
    target, worker = own
    go, ran = threading.Event(), []

    @target.app.task(name=f"shop.waits{uuid.uuid4().hex}")
    def waits() -> str:
        ran.append(1)
        go.wait(PATIENCE)
        return "done"

    result = waits.delay()
    wait_until(lambda: ran, PATIENCE)
    with beating(worker):
        answer = order_of(target, b'{"command":"ping","arguments":' + arguments + b"}")
    assert "error" in answer
    go.set()
    assert (result.get(timeout=PATIENCE), ran) == ("done", [1])


@pytest.mark.parametrize("command", ["revoke", "revoke_by_stamped_headers", "hello", "query_task"])
def test_an_order_of_many_numbers_with_one_hash_holds_nothing_up(
    own: tuple[Target, WorkerThread], command: str
) -> None:
    target, worker = own
    numbers = [number * bombs.SAME_HASH for number in range(60_000)]
    arguments = {
        "revoke": {"task_id": numbers},
        "revoke_by_stamped_headers": {"headers": {"tenant": numbers}},
        "hello": {"from_node": "x", "revoked": numbers},
        "query_task": {"ids": numbers},
    }[command]
    try:
        with beating(worker):
            order_of(target, json.dumps({"command": command, "arguments": arguments}).encode())
            target.still_works()
    finally:
        from pyramid_temporal_compat.control import process_state

        process_state.revoked_stamps.clear()


def test_a_delayed_canvas_that_explodes_does_not_hold_up_who_lists_the_delayed_tasks(
    own: tuple[Target, WorkerThread],
) -> None:
    target, worker = own
    honest = target.app.tasks["shop.pack"].apply_async(("honest",), countdown=3600)
    bomb = bombs.canvas()
    body = bombs.compressed("application/json", bombs.arguments(bombs.lists()))
    eta = "2099-01-01T00:00:00+00:00"
    hidden = json.dumps({"ptemporal": 1, "task": "shop.pack", "id": "x", "queue": target.queue, "eta": eta})
    inputs = [bomb, bomb, [Payload(JSON, hidden.replace(" ", "").encode()), whole(body)]]
    ids = [str(uuid.uuid4()) for _ in inputs]

    async def start(client: Any) -> None:
        for id, payloads in zip(ids, inputs, strict=True):
            args = to_arguments(payloads)
            await client.start_workflow(
                "group", args=args, id=id, task_queue=target.queue, start_delay=timedelta(hours=1)
            )

    target.app.temporal.call(start, PATIENCE)

    def listed() -> Any:
        found = target.app.control.inspect([target.worker_name], timeout=PATIENCE).scheduled()
        shown = {entry["request"]["id"]: entry["request"] for entry in found[target.worker_name]}
        return shown if {honest.id, "x"} <= shown.keys() else None

    try:
        with beating(worker):
            shown = wait_until(listed, PATIENCE * 2, "the delayed tasks are not listed")
        assert shown[honest.id]["args"] == ["honest"]
        assert shown["x"]["args"] == ""
    finally:

        async def end(client: Any) -> None:
            for id in [honest.id, *ids]:
                await client.get_workflow_handle(id).terminate()

        target.app.temporal.call(end, PATIENCE)


@pytest.mark.parametrize(
    "body",
    [
        bombs.compressed("application/json", bombs.arguments(bombs.lists())),
        Payload(JSON, bombs.arguments(bombs.colliding())),
        Payload(JSON, bombs.arguments(bombs.sets_in_sets(members=400_000))),
    ],
    ids=["lists", "colliding", "sets in sets"],
)
def test_arguments_that_explode_fail_their_task_alone(own: tuple[Target, WorkerThread], body: Payload) -> None:
    target, worker = own
    message = target.message(body=(whole(body),))
    with beating(worker):
        status = target.ended(target.start(*message.encode(), id=message.id))
    assert (status.state, status.error["type"]) == ("FAILURE", "Unreadable")
    target.still_works()


def test_arguments_that_explode_leave_the_children_of_prefork_alive(temporal_address: str, tmp_path: Path) -> None:
    project = Project(temporal_address, tmp_path)
    try:
        with project.worker() as worker:
            assert project.tasks.add.delay(1, 2).get(timeout=PATIENCE) == 3
            before = children(worker)
            add = project.tasks.add
            for bomb in (bombs.compressed("application/json", bombs.arguments(bombs.lists())),):
                message = Message(add.name, str(uuid.uuid4()), (whole(bomb),), project.app.conf.task_default_queue)

                async def start(client: Any, message: Message = message) -> None:
                    args = to_arguments(message.encode())
                    await client.start_workflow(message.task, args=args, id=message.id, task_queue=message.queue)

                project.app.temporal.call(start, PATIENCE)
                with pytest.raises(Unreadable, match="more than the 2,000,000 values"):
                    project.app.AsyncResult(message.id).get(timeout=PATIENCE)
            assert project.tasks.add.delay(1, 2).get(timeout=PATIENCE) == 3
            assert children(worker) == before
    finally:
        project.app.close()


def test_a_call_with_long_characters_has_a_summary_that_the_server_takes(own: tuple[Target, WorkerThread]) -> None:
    target, _ = own
    for text in ("\N{GRINNING FACE}" * 400, "\u4e2d" * 400, '"\\' * 400):
        assert target.app.tasks["shop.pack"].delay(text).get(timeout=PATIENCE) == "packed"


# --- the outbox ----------------------------------------------------------


def row(data: Any, encoding: str = "json/plain") -> bytes:
    payload = {"metadata": {"encoding": encoding}, "data": data}
    return json.dumps({"units": [[payload, payload]]}).encode()


BOMBED_ROWS: dict[str, Callable[[], bytes]] = {
    "lists": lambda: b'{"units":' + bombs.lists(11_000_000) + b"}",
    "deep": lambda: b'{"units":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "canvas": lambda: json.dumps(
        {
            "units": [
                [
                    {"metadata": {}, "data": {"base64": base64.b64encode(payload.data).decode()}}
                    for payload in bombs.canvas()
                ]
            ]
        }
    ).encode(),
    "envelope": lambda: row('{"ptemporal":1,"id":' + bombs.lists(4_000_000).decode() + "}"),
}


@pytest.mark.parametrize("name", BOMBED_ROWS)
def test_a_row_of_the_outbox_that_explodes_is_not_read(name: str) -> None:
    data = BOMBED_ROWS[name]()
    with pytest.raises(InvalidTaskError):
        decode_units(data, chain([]))
