"""Control orders: whoever can write to the namespace may send them, so none may do more harm than it says."""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import Worker as TemporalWorker

from pyramid_temporal_compat.control import process_state
from pyramid_temporal_compat.control.addresses import COMMAND, DIRECTORY, Address
from pyramid_temporal_compat.control.worker_commands import shutdown
from pyramid_temporal_compat.exceptions import WorkerShutdown
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.converter import to_raw
from pyramid_temporal_compat.worker.worker import MOST_QUEUES_ADDED
from tests.parts import wait_until
from tests.security.conftest import PATIENCE, Target
from tests.worker.shop import WorkerThread


def order(target: Target, command: str, **arguments: Any) -> Any:
    """What the target's worker answers, among those of other tests."""
    mine = target.worker_name
    for reply in target.app.control.broadcast(command, arguments, reply=True, timeout=PATIENCE, destination=[mine]):
        if mine in reply:
            return reply[mine]
    raise AssertionError(f"no answer to {command}")


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("pool_grow", {"n": 10**9}, "and an order may ask for 1,000"),
        ("pool_grow", {"n": "many"}, "TypeError"),
        ("pool_shrink", {"n": -(10**9)}, "and an order may ask for 1,000"),
        ("pool_grow", {"n": float("nan")}, "nan is not a whole number"),
        ("pool_grow", {"n": float("inf")}, "inf is not a whole number"),
        ("pool_grow", {"n": 0.5}, "0.5 is not a whole number"),
        ("pool_grow", {"n": True}, "True is not a whole number"),
        ("pool_shrink", {"n": float("nan")}, "not a whole number"),
        ("pool_shrink", {"n": 1000}, "a pool runs at least 1 job"),
        ("autoscale", {"max": 10**9, "min": 10**9}, "was not started with --autoscale"),
        ("time_limit", {"task_name": "shop.pack", "hard": "soon"}, "Invalid time limit: 'soon'"),
        ("time_limit", {"task_name": "shop.pack", "soft": -1}, "Invalid time limit: -1"),
        ("time_limit", {"task_name": "os.system", "soft": 1}, "unknown task"),
        ("rate_limit", {"task_name": "shop.pack", "rate_limit": "often\n[2026"}, "Invalid rate limit string"),
        ("rate_limit", {"task_name": "os.system", "rate_limit": "1/s"}, "unknown task"),
        ("add_consumer", {"queue": "a\nb"}, "can't be served"),
        ("add_consumer", {"queue": ["a"]}, "can't be served"),
        ("add_consumer", {"queue": "/_sys/x"}, "the server's own prefix"),
        ("add_consumer", {"queue": "ptemporal-workers"}, "control calls to workers travel there"),
        ("add_consumer", {"queue": "ptemporal-control.w2@host#1"}, "control calls to workers travel there"),
        ("rate_limit", {"task_name": "shop.pack", "rate_limit": "1e-300/s"}, "Invalid rate limit string"),
        ("revoke", {"task_id": [{}]}, "TypeError"),
        ("active", {"state": 5}, "TypeError"),
        ("active", {"no": "such"}, r"\[\]"),
        ("__init__", {}, "there is no control command"),
        ("os.system", {"what": "id"}, "there is no control command"),
    ],
)
def test_an_order_that_makes_no_sense_is_answered_and_does_nothing(
    target: Target, command: str, arguments: dict[str, Any], told: str
) -> None:
    answer = order(target, command, **arguments)
    assert re.search(told, str(answer)), answer
    target.still_works()


def test_the_bounds_of_autoscale_are_whole_numbers(temporal_address: str) -> None:
    target = Target(temporal_address, "scaled")
    node = f"scaled-{uuid.uuid4().hex[:6]}@test"
    with target.app, WorkerThread(target.app, target.queue, hostname=node, autoscale=(4, 2)) as running:
        target.worker_name = running.worker.hostname
        for bounds in ({"max": float("nan")}, {"min": float("nan")}, {"max": 1.5}, {"max": "9"}, {"max": 10**9}):
            assert "error" in order(target, "autoscale", **bounds)
        assert "error" in order(target, "pool_shrink", n=1000)
        scaler = running.worker.autoscaler
        assert scaler is not None
        assert (scaler.largest, scaler.smallest) == (4, 2)
        target.still_works()


def test_orders_add_no_more_queues_than_a_worker_and_a_namespace_can_bear(temporal_address: str) -> None:
    target = Target(temporal_address, "many")
    node = f"many-{uuid.uuid4().hex[:6]}@test"
    with target.app, WorkerThread(target.app, target.queue, hostname=node) as running:
        target.worker_name = running.worker.hostname
        answers = [order(target, "add_consumer", queue=f"{target.queue}-{number}") for number in range(40)]
        assert sum("ok" in answer for answer in answers) == MOST_QUEUES_ADDED
        assert "can't be added" in answers[-1]["error"]
        assert order(target, "add_consumer", queue=target.queue) == {"ok": f"add consumer {target.queue}"}
        for number in range(5):
            order(target, "cancel_consumer", queue=f"{target.queue}-{number}")
        another = wait_until(
            lambda: "ok" in (answer := order(target, "add_consumer", queue=f"{target.queue}-new")) and answer,
            PATIENCE,
            "no queue can be added after others were dropped",
        )
        assert another == {"ok": f"add consumer {target.queue}-new"}
        target.still_works()


class Refused:
    """Stands for a client library's worker whose queue the server refuses, which takes the server a minute."""

    async def run(self) -> None:
        raise RuntimeError("the server refuses this queue")


def test_a_worker_goes_on_when_the_server_refuses_a_queue_that_an_order_has_added(
    temporal_address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target = Target(temporal_address, "refused")
    node = f"refused-{uuid.uuid4().hex[:6]}@test"
    with target.app, WorkerThread(target.app, target.queue, hostname=node) as running:
        target.worker_name = running.worker.hostname
        with monkeypatch.context() as patched:
            patched.setattr(running.worker, "_temporal_worker", lambda client, queue: Refused())
            assert "ok" in order(target, "add_consumer", queue=f"{target.queue}-bad")
        wait_until(lambda: running.worker.queues == [target.queue], PATIENCE)
        wait_until(lambda: "control call had added: the server refuses this queue" in caplog.text, PATIENCE)
        target.still_works()
        assert "ok" in order(target, "add_consumer", queue=f"{target.queue}-good")


def test_a_failing_order_with_long_arguments_takes_few_lines_of_the_log(
    target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    order(target, "revoke", task_id=[*range(50_000)])
    (record,) = [record for record in caplog.records if "failed" in record.getMessage()]
    assert len(record.getMessage()) < 500


def test_what_only_looks_like_an_id_or_a_stamp_is_not_remembered() -> None:
    ids = process_state.LimitedSet()
    ids.update(["a", 5, ["x"], "b\nc", "x" * 2000, None])  # type: ignore[list-item]
    assert list(ids) == ["a"]
    try:
        with pytest.raises(ValueError, match="1,000 are allowed"):
            process_state.revoke_stamps({"tenant": ["x" * 5000]})
        for number in range(5):
            process_state.revoke_stamps({f"h{number}": [*range(20_000)]})
        assert sum(map(len, process_state.revoked_stamps.values())) <= process_state.REVOKES_MAX
        assert "h4" in process_state.revoked_stamps
    finally:
        process_state.revoked_stamps.clear()


def test_the_text_of_a_shutdown_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(WorkerShutdown):
        shutdown(None, msg="bye\n[2026-01-01 00:00:00,000: INFO/MainProcess] Task shop.pay succeeded")  # type: ignore[arg-type]
    assert "\n[2026" not in caplog.text


def test_what_is_revoked_by_stamps_stays_within_bounds() -> None:
    try:
        process_state.revoke_stamps({"tenant": [*range(300_000), [1], [1], {"a": 1}, "1", True]})
        known = process_state.revoked_stamps["tenant"]
        assert len(known) == process_state.REVOKES_MAX
        assert known[-5:] == [299_999, [1], {"a": 1}, "1", True]
        assert process_state.matching_stamps({"tenant": [1, "1"]}, {"tenant": "1"}) == {"tenant": ["1"]}
    finally:
        process_state.revoked_stamps.clear()


def test_who_only_looks_like_a_worker_keeps_no_one_from_answering(target: Target) -> None:
    address = target.app.conf.ptemporal_address
    liar = f"liar-{uuid.uuid4().hex[:6]}#1"
    identities = [liar, "x" * 990 + "#1", "#", "a\nb#2"]

    @activity.defn(name=COMMAND)
    async def lie(request: RawValue) -> RawValue:
        return to_raw(Payload({"encoding": b"json/plain"}, b"[" * 50_000))

    async def stand_by(done: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for identity in identities:
                client = await Client.connect(address, identity=identity)
                await stack.enter_async_context(TemporalWorker(client, task_queue=DIRECTORY, activities=[lie]))
            client = await Client.connect(address)
            mailbox = Address.read(liar).mailbox
            await stack.enter_async_context(TemporalWorker(client, task_queue=mailbox, activities=[lie]))
            await done.wait()

    async def ask() -> dict[str, Any]:
        done = asyncio.Event()
        standing = asyncio.ensure_future(stand_by(done))
        try:
            replies: dict[str, Any] = {}
            for _ in range(20):
                broadcast = target.app.control.broadcast
                for reply in await asyncio.to_thread(broadcast, "ping", reply=True, timeout=2):
                    replies |= reply
                if Address.read(liar).node in replies:
                    break
            return replies
        finally:
            done.set()
            await standing

    replies = asyncio.run(ask())
    assert replies[target.worker_name] == {"ok": "pong"}
    assert "nested too deeply" in replies[Address.read(liar).node]["error"]
