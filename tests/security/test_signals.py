"""Anyone who can write to the namespace can send signals to workflows. No signal may stop a workflow for good."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.client import Client

from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.codecs import Compression, chain
from pyramid_temporal_compat.payload.converter import CodecAdapter, is_refused, to_raw
from tests.parts import wait_until
from tests.security.conftest import JSON, PATIENCE, Target
from tests.worker.shop import WorkerThread

gate = threading.Event()


@pytest.fixture(scope="module")
def running_waiter(temporal_address: str) -> Iterator[Target]:
    target = Target(temporal_address, "waiter")

    @target.app.task(name="shop.wait")
    def wait() -> str:
        target.ran.append("wait")
        gate.wait(PATIENCE)
        return "waited"

    with target.app, WorkerThread(target.app, target.queue, concurrency=2):
        yield target


@pytest.fixture
def waiter(running_waiter: Target) -> Iterator[Target]:
    running_waiter.ran.clear()
    gate.clear()
    yield running_waiter
    gate.set()


def signal(target: Target, workflow_id: str, name: str, data: bytes) -> None:
    async def send(client: Client) -> None:
        await client.get_workflow_handle(workflow_id).signal(name, args=[to_raw(Payload(JSON, data))])

    target.app.temporal.call(send, PATIENCE)


HOSTILE = {
    "a name that UTF-8 can't express": rb'["\udc80"]',
    "names of control characters": rb'["a\u0000b", "\u001b[31m"]',
    "more names than a memo may hold": json.dumps([f"member {number}" for number in range(60_000)]).encode(),
    "a name of a megabyte": b'["' + b"x" * 1_000_000 + b'"]',
    "deep lists": b"[" * 900_000,
    "no names": b"[{}, 1]",
    "no JSON": b"\xff\xfe",
}


@pytest.mark.parametrize("name", [wire.ABORT, wire.REVOKE])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_workflow_goes_on_after_a_hostile_signal(waiter: Target, name: str, data: bytes) -> None:
    result = waiter.app.tasks["shop.wait"].delay()
    wait_until(lambda: waiter.ran, PATIENCE)
    for _ in range(2):
        signal(waiter, result.id, name, data)
    gate.set()
    assert result.get(timeout=PATIENCE) == "waited"


def test_signals_that_cannot_be_read_take_at_most_one_line_of_the_log(
    waiter: Target, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    result = waiter.app.tasks["shop.wait"].delay()
    wait_until(lambda: waiter.ran, PATIENCE)
    for _ in range(5):
        signal(waiter, result.id, wire.ABORT, b"no JSON")
    gate.set()
    assert result.get(timeout=PATIENCE) == "waited"
    assert sum("signal" in record.getMessage() for record in caplog.records) <= 1
    assert not [record for record in caplog.records if record.exc_info]


def test_bombs_are_refused_one_by_one_and_not_with_all_that_came_with_them() -> None:
    adapter = CodecAdapter(chain([Compression()]))
    bomb = Payload({"encoding": b"binary/zlib"}, zlib.compress(b"\x12" + bytes(70_000_000)))
    honest: Any = to_raw(Payload(JSON, b"1")).payload
    bombs = [to_raw(bomb).payload] * 2
    decoded = asyncio.run(adapter.decode([honest, *bombs, honest]))
    assert [is_refused(each) for each in decoded] == [False, True, True, False]
