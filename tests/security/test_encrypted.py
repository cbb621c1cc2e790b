"""With encryption: what the server gets to see, and what is refused where it is required."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import transaction
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from pyramid_temporal_compat import Celery, chord, group
from pyramid_temporal_compat import chain as chain_of
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, SecurityError
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.codecs import Encryption, chain
from pyramid_temporal_compat.payload.converter import to_raw
from pyramid_temporal_compat.schedules.declaration import declarations
from tests.parts import wait_until
from tests.security.conftest import JSON, PATIENCE, Target
from tests.worker.shop import WorkerThread

KEY = base64.b64encode(bytes(range(32))).decode()
SECRET = "4111-1111"
SEALED = {"ptemporal_encryption_keys": (f"a:{KEY}",), "ptemporal_encryption_required": True}


@pytest.fixture(scope="module")
def running_vault(temporal_address: str) -> Iterator[Target]:
    target = Target(temporal_address, "vault", **SEALED)

    @target.app.task(name="shop.pay", bind=True)
    def pay(self: Any, card: str, retry: bool = False) -> str:
        target.ran.append(card)
        if retry and self.request.retries == 0:
            raise self.retry(exc=LookupError(card), countdown=0)
        if retry is None:
            raise LookupError(card)
        return f"paid with {card}"

    @target.app.task(name="shop.total")
    def total(paid: list[str]) -> int:
        target.ran.append(paid)
        return len(paid)

    with target.app, WorkerThread(target.app, target.queue, concurrency=8) as running:
        target.worker_name = running.worker.hostname
        yield target


@pytest.fixture
def vault(running_vault: Target) -> Target:
    running_vault.ran.clear()
    return running_vault


def history(target: Target, workflow_id: str) -> str:
    async def fetch(client: Any) -> str:
        described = await client.get_workflow_handle(workflow_id).describe()
        events = [event async for event in client.get_workflow_handle(workflow_id).fetch_history_events()]
        kinds = {EventType.Name(event.event_type) for event in events}
        assert "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED" in kinds
        return str(described.raw_description) + "".join(map(str, events))

    found: str = target.app.temporal.call(fetch, PATIENCE)
    return found


def test_the_server_sees_no_argument_result_error_or_summary(vault: Target) -> None:
    pay, total = vault.app.tasks["shop.pay"], vault.app.tasks["shop.total"]
    paid, retried, failed = pay.delay(SECRET), pay.delay(SECRET, retry=True), pay.delay(SECRET, retry=None)
    together = chord(group(pay.s(SECRET), pay.s(f"{SECRET}-2")), total.s()).apply_async()
    assert paid.get(timeout=PATIENCE) == f"paid with {SECRET}"
    assert retried.get(timeout=PATIENCE) == f"paid with {SECRET}"
    with pytest.raises(LookupError, match=SECRET):
        failed.get(timeout=PATIENCE)
    assert together.get(timeout=PATIENCE) == 2
    for result in (paid, retried, failed, together):
        seen = history(vault, result.id.partition("/")[0])
        assert SECRET not in seen
        assert "shop.pay" in seen  # names stay readable


@pytest.mark.parametrize("where", ["envelope", "body", "both"])
def test_what_came_in_the_clear_is_not_run(vault: Target, where: str) -> None:
    message = vault.message(task="shop.pay", body=(Payload(JSON, b'"stolen"'),))
    codec = chain(vault.app.codecs())
    envelope, body = message.encode()
    payloads = {
        "envelope": (envelope, codec.encode(body)),
        "body": (codec.encode(envelope), body),
        "both": (envelope, body),
    }[where]
    forged = send_as_it_is(vault, message.id, *payloads)
    assert vault.app.tasks["shop.pay"].delay(SECRET).get(timeout=PATIENCE) == f"paid with {SECRET}"
    assert vault.ran == [SECRET]
    terminate(vault, forged)


def test_a_call_without_an_envelope_is_not_run_even_if_nothing_of_it_came_in_the_clear(vault: Target) -> None:
    """The call has no arguments, or those that anyone can read of another call on the server, and send again."""
    vault.app.task(name="shop.empty_the_till")(lambda *args: vault.ran.append(args))
    seen_before = chain(vault.app.codecs()).encode(Payload(JSON, b'"stolen"'))
    try:
        for arguments in ((), (to_raw(seen_before),)):
            forged = call_as_a_stranger(vault, "shop.empty_the_till", *arguments)
            status = vault.ended(forged)
            assert status.error is not None
            assert status.error["type"] == "SecurityError"
            assert "encryption is required" in status.error["text"]
    finally:
        vault.app.tasks.unregister("shop.empty_the_till")
    assert vault.ran == []


def call_as_a_stranger(target: Target, task: str, *arguments: Any) -> str:
    workflow_id = str(uuid.uuid4())

    async def start() -> None:
        client = await Client.connect(target.app.conf.ptemporal_address)
        await client.start_workflow(task, args=arguments, id=workflow_id, task_queue=target.queue)

    asyncio.run(start())
    return workflow_id


def test_headers_of_workflows_activities_children_and_schedules_are_encrypted(vault: Target) -> None:
    pay = vault.app.tasks["shop.pay"]
    secretive = {"headers": {"card": SECRET}, "shadow": f"pay {SECRET}", "queue": vault.queue}
    single = pay.apply_async((SECRET,), **secretive)
    own_id = str(uuid.uuid4())  # a task that has its id already runs in a child workflow
    together = chain_of(pay.si(SECRET).set(**secretive), pay.si(SECRET).set(task_id=own_id)).apply_async()
    for result in (single, together):
        assert result.get(timeout=PATIENCE) == f"paid with {SECRET}"
    entry = {"task": "shop.pay", "schedule": 3600, "args": (SECRET,), "options": secretive}
    vault.app.conf.beat_schedule = {"nightly": entry}
    (declared,) = declarations(vault.app)
    schedule = vault.app.temporal.call(declared.encoded, PATIENCE)
    fields = [schedule.action.start_workflow.header.fields]
    for workflow_id in (single.id, together.id.partition("/")[0]):
        fields += headers_in(vault, workflow_id)
    assert len(fields) >= 5
    for each in fields:
        assert each["ptemporal"].metadata["encoding"] == b"binary/encrypted"
        assert SECRET.encode() not in each["ptemporal"].data
    assert SECRET not in str(schedule)


def headers_in(target: Target, workflow_id: str) -> list[Any]:
    """Return the fields of each header in a history."""

    async def fetch(client: Any) -> list[Any]:
        events = [event async for event in client.get_workflow_handle(workflow_id).fetch_history_events()]
        attributes = [getattr(event, event.WhichOneof("attributes")) for event in events]
        return [each.header.fields for each in attributes if hasattr(each, "header") and each.HasField("header")]

    found: list[Any] = target.app.temporal.call(fetch, PATIENCE)
    return found


def test_what_was_changed_on_its_way_is_not_run(vault: Target) -> None:
    message = vault.message(task="shop.pay", body=(Payload(JSON, b'"changed"'),))
    envelope, body = (chain(vault.app.codecs()).encode(payload) for payload in message.encode())
    changed = Payload(body.metadata, body.data[:-1] + bytes([body.data[-1] ^ 1]))
    forged = send_as_it_is(vault, message.id, envelope, changed)
    assert vault.app.tasks["shop.pay"].delay(SECRET).get(timeout=PATIENCE) == f"paid with {SECRET}"
    assert vault.ran == [SECRET]
    terminate(vault, forged)


def send_as_it_is(target: Target, workflow_id: str, *payloads: Payload) -> str:
    stranger = Celery("stranger", set_as_current=False)
    stranger.conf.update(ptemporal_address=target.app.conf.ptemporal_address)
    with stranger:
        outside = Target.__new__(Target)
        outside.app, outside.queue = stranger, target.queue
        return outside.start(*payloads, id=workflow_id)


def terminate(target: Target, workflow_id: str) -> None:
    target.app.temporal.call(lambda client: client.get_workflow_handle(workflow_id).terminate("the test is over"))


def test_orders_of_one_without_the_key_are_not_followed(vault: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vault.app.control.ping(timeout=PATIENCE)
    stranger = Celery("stranger", set_as_current=False)
    stranger.conf.update(ptemporal_address=vault.app.conf.ptemporal_address)
    with stranger:
        assert stranger.control.broadcast("shutdown", destination=[vault.worker_name], reply=True, timeout=3) == []
    assert vault.app.tasks["shop.pay"].delay(SECRET).get(timeout=PATIENCE)


def test_an_unencrypted_reply_is_no_reply_and_the_others_count(vault: Target, target: Target) -> None:
    replies = vault.app.control.ping(timeout=PATIENCE)
    assert replies
    assert not any(target.worker_name in reply for reply in replies)


def test_a_result_that_was_changed_is_not_given(vault: Target) -> None:
    result = vault.app.tasks["shop.pay"].delay(SECRET)
    result.get(timeout=PATIENCE)
    other = Celery("other", set_as_current=False)
    other.conf.update(
        ptemporal_address=vault.app.conf.ptemporal_address,
        ptemporal_encryption_keys=(f"a:{base64.b64encode(bytes(32)).decode()}",),
    )
    with other, pytest.raises(SecurityError, match="was changed on its way, or the key of that name differs"):
        other.AsyncResult(result.id).get(timeout=PATIENCE)


def test_encryption_that_is_required_needs_keys() -> None:
    app = Celery("keyless", set_as_current=False)
    app.conf.update(ptemporal_encryption_required=True)
    with pytest.raises(ImproperlyConfigured, match=r"ptemporal\.encryption_keys"):
        app.codecs()


# --- the log of what could not be sent -----------------------------------------------------------------


def lost_line(app: Celery, caplog: pytest.LogCaptureFixture, **options: Any) -> tuple[str, Any]:
    with app, caplog.at_level(logging.ERROR), transaction.manager:
        app.send_task("shop.pay", (SECRET,), retry=False, **options)
    wait_until(lambda: caplog.records, PATIENCE)
    (text,) = [record.getMessage() for record in caplog.records if "committed" in record.getMessage()]
    assert "\n" not in text
    return text, json.loads(text.partition("; the message: ")[2])


@pytest.fixture
def cut_off() -> Celery:
    app = Celery("cut off", set_as_current=False)
    app.conf.update(ptemporal_address="127.0.0.1:1", ptemporal_dispatch_timeout=1)
    return app


def test_an_unsent_message_is_logged_as_the_server_would_have_got_it(
    cut_off: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    cut_off.conf.update(SEALED)
    text, written = lost_line(cut_off, caplog)
    assert SECRET not in text
    codec = Encryption({"a": bytes(range(32))}, required=True)
    envelope, *body = (
        codec.decode(
            Payload({key: value.encode() for key, value in part["metadata"].items()}, base64.b64decode(part["base64"]))
        )
        for part in (written["envelope"], *written["body"])
    )
    assert [json.loads(each.data) for each in body] == [SECRET]
    assert Message.decode(envelope.data, body).task == "shop.pay"


def test_what_an_unsent_message_was_given_is_one_line_whatever_it_is(
    cut_off: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    forged = "\n[2026-01-01 00:00:00,000: INFO/MainProcess] Task shop.pay succeeded\x1b[2J"
    _, written = lost_line(cut_off, caplog, argsrepr=forged, kwargsrepr=forged, headers={"x": forged})
    assert written["body"] == [SECRET]
