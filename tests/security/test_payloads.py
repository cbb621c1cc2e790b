"""Payloads that do harm by being read: signatures for something else, bombs, rubbish where counts should be."""

from __future__ import annotations

import datetime
import lzma
import os
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from pyramid_temporal_compat.client.read_status import result_status
from pyramid_temporal_compat.exceptions import ContentDisallowed, ImproperlyConfigured, PayloadTooLarge
from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.message.body import write_body
from pyramid_temporal_compat.message.failures import how_it_failed
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.converter import to_raw
from pyramid_temporal_compat.payload.serializers import deserialize, serialize, unregister
from pyramid_temporal_compat.payload.types import Unreadable
from pyramid_temporal_compat.worker.daemon import refuse_pickles_as_root
from tests.security.conftest import PATIENCE, Target, whole
from tests.security.test_signing import write_pair
from tests.worker.shop import WorkerThread

# --- signed messages -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signing(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder: Path = tmp_path_factory.mktemp("keys")
    key, certificate = write_pair(folder, "worker")
    settings = {
        "security_key": key,
        "security_certificate": certificate,
        "security_cert_store": str(folder / "*.pem"),
        "task_serializer": "auth",
        "accept_content": ["auth"],
        "result_serializer": "auth",
    }
    target = Target(temporal_address, "signing", **settings)
    target.app.setup_security()

    @target.app.task(name="shop.refund")
    def refund(*args: Any, **kwargs: Any) -> None:
        target.ran.append("refund")

    @target.app.task(name="shop.again", bind=True)
    def again(self: Any, number: int) -> int:
        if self.request.retries == 0:
            raise self.retry(args=(number + 1,), countdown=0)
        return number

    with target.app, WorkerThread(target.app, target.queue, concurrency=4):
        yield target
    unregister("auth")


def test_signed_tasks_run_and_are_retried_and_chained(signing: Target) -> None:
    tasks = signing.app.tasks
    assert tasks["shop.pack"].delay(1).get(timeout=PATIENCE) == "packed"
    assert tasks["shop.again"].delay(1).get(timeout=PATIENCE) == 2
    assert (tasks["shop.again"].s(1) | tasks["shop.again"].s()).apply_async().get(timeout=PATIENCE) == 3


def test_signed_arguments_are_for_one_task_and_one_id(signing: Target) -> None:
    signing.ran.clear()
    own_id = str(uuid.uuid4())
    signed = write_body({"args": [5], "kwargs": {}, "task": "shop.pack", "id": own_id}, "auth")
    unbound = write_body({"args": [5], "kwargs": {}}, "auth")
    unmarked = tuple(serialize(value, "auth") for value in (5, {"task": "shop.pack", "id": own_id}))
    for message in (
        signing.message(task="shop.refund", id=own_id, body=signed),
        signing.message(body=signed),
        signing.message(body=unbound),
        signing.message(id=own_id, body=unmarked),
    ):
        status = signing.ended(signing.start(*message.encode()))
        assert status.error is not None
        assert status.error["type"] == "SecurityError"
    assert signing.ran == []
    genuine = signing.message(id=own_id, body=signed)
    assert signing.ended(signing.start(*genuine.encode(), id=own_id)).state == "SUCCESS"


def test_a_call_without_envelope_and_signature_is_refused_also_without_arguments(signing: Target) -> None:
    signing.ran.clear()
    other = serialize({"args": [5], "kwargs": {}, "task": "shop.pack", "id": "another"}, "auth")
    for arguments in ((), (5,), (to_raw(other),), (to_raw(whole(other)),)):
        workflow_id = str(uuid.uuid4())

        async def start(client: Any, workflow_id: str = workflow_id, arguments: Any = arguments) -> None:
            await client.start_workflow("shop.pack", args=arguments, id=workflow_id, task_queue=signing.queue)

        signing.app.temporal.call(start, PATIENCE)
        status = signing.ended(workflow_id)
        assert status.error is not None
        assert status.error["type"] in ("SecurityError", "ContentDisallowed")
    assert signing.ran == []


def test_what_is_not_signed_is_not_read_as_text_bytes_or_nothing_either(signing: Target) -> None:
    for metadata in (
        {"encoding": b"binary/plain", "content-type": b"application/text", "content-encoding": b"utf-8"},
        {"encoding": b"binary/null"},
        {"encoding": b"json/plain"},
    ):
        with pytest.raises((ContentDisallowed, Unreadable)):
            deserialize(Payload(metadata, b'"unsigned"'), ["auth"])
    assert deserialize(Payload({"encoding": b"binary/null"}, b""), ["json"]) is None


# --- bombs -----------------------------------------------------------------------------------------------


def yaml_payload(text: str) -> Payload:
    metadata = {"encoding": b"binary/yaml", "content-type": b"application/x-yaml", "content-encoding": b"utf-8"}
    return Payload(metadata, text.encode())


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 20))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "its aliases stand for more than 2,000,000 values"),
        (MERGES, "merge keys"),
        ("a: &a {<<: *a}", "merge keys"),
        ("&a [*a]", "it contains itself"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("[" * 5000, "RecursionError"),
    ],
)
def test_yaml_that_is_a_bomb_is_not_read(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        deserialize(yaml_payload(text), ["yaml"])


def test_yaml_with_aliases_is_read() -> None:
    shared = ["x", {"when": datetime.date(2026, 1, 2)}]
    value = {"args": [shared, shared], "kwargs": {}}
    payload = serialize(value, "yaml")
    assert b"&id001" in payload.data
    assert deserialize(payload, ["yaml"]) == value


def test_what_inflates_without_end_is_stopped() -> None:
    metadata = {"encoding": b"binary/compressed", "content-type": b"application/json"}
    deflated = zlib.compress(b"[" + b"0," * 40_000_000 + b"0]", 9)
    with pytest.raises(PayloadTooLarge, match="inflates to more than"):
        deserialize(Payload({**metadata, "compression": b"zlib"}, deflated), ["json"])
    greedy = lzma.compress(b"[]", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    with pytest.raises(Unreadable, match="can't be inflated"):
        deserialize(Payload({**metadata, "compression": b"lzma"}, greedy), ["json"])


# --- rubbish in the place of a state ---------------------------------------------------------------------


def test_a_result_with_rubbish_around_it_is_read() -> None:
    for rubbish in (b"x", b"\xff", b"-5", b"9" * 100, b"{}", b"[" * 100_000):
        metadata = {"encoding": b"json/plain", wire.RETRIED: rubbish, wire.CHILDREN: rubbish}
        status = result_status(Payload(metadata, b"1"))
        assert (status.state, status.retries, status.children) == ("SUCCESS", 0, None)


@pytest.mark.parametrize("details", [[{"type": "ValueError"}], [{"type": []}], [{}], [5], [None], [], ["x"] * 3])
def test_a_failure_with_rubbish_in_it_is_told_of(details: list[Any]) -> None:
    state, error = how_it_failed(ApplicationError("what", *details, type="Odd"))
    assert state == "FAILURE"
    assert "type" in error


@pytest.mark.parametrize("value", ["many", -1, 2**40, 1.5, True, None, {}, [], b"\xff", b"1.5"])
def test_a_count_that_is_none_counts_as_none(value: Any) -> None:
    assert wire.count(value, 7) in (0, 7)


@pytest.mark.skipif(os.getuid() != 0, reason="pickles are refused to root alone, and this user is not root")
def test_a_worker_that_reads_pickles_does_not_run_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("C_FORCE_ROOT", raising=False)
    refuse_pickles_as_root(["json", "yaml"])
    for accept in (["pickle"], ["json", "application/x-python-serialize"]):
        with pytest.raises(ImproperlyConfigured, match="accept_content has pickle, and this worker runs as root"):
            refuse_pickles_as_root(accept)
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    refuse_pickles_as_root(["pickle"])
