"""Where encryption is required: what comes unencrypted has no effect, and does not fill the log."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload as ProtoPayload
from temporalio.api.failure.v1 import ApplicationFailureInfo, CanceledFailureInfo, Failure, TimeoutFailureInfo
from temporalio.exceptions import ApplicationError, CancelledError

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exceptions import SecurityError
from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.message.failures import how_it_failed
from pyramid_temporal_compat.payload import converter
from pyramid_temporal_compat.payload.codecs import Encryption
from pyramid_temporal_compat.payload.converter import data_converter
from tests.parts import wait_until
from tests.security.conftest import PATIENCE, Target
from tests.security.test_encrypted import SEALED
from tests.security.test_forged_errors import forge_failure
from tests.worker.shop import WorkerThread

EVIL = "the attacker's text"
gate = threading.Event()


@pytest.fixture(scope="module")
def running_safe(temporal_address: str) -> Iterator[Target]:
    target = Target(temporal_address, "safe", **SEALED)

    @target.app.task(name="shop.wait")
    def wait(number: int = 0) -> int:
        target.ran.append(number)
        gate.wait(PATIENCE)
        return number

    @target.app.task(name="shop.next")
    def next_(number: int) -> int:
        return number + 1

    with target.app, WorkerThread(target.app, target.queue, concurrency=4) as running:
        target.worker_name = running.worker.hostname
        yield target


@pytest.fixture
def safe(running_safe: Target) -> Iterator[Target]:
    running_safe.ran.clear()
    gate.clear()
    yield running_safe
    gate.set()


@pytest.fixture
def stranger(safe: Target) -> Iterator[Celery]:
    """An app without the key."""
    app = Celery("stranger", set_as_current=False)
    app.conf.update(ptemporal_address=safe.app.conf.ptemporal_address)
    with app:
        yield app


def signal(app: Celery, workflow_id: str, name: str, *args: Any) -> None:
    async def send(client: Any) -> None:
        await client.get_workflow_handle(workflow_id).signal(name, args=list(args))

    app.temporal.call(send, PATIENCE)


@pytest.mark.parametrize("args", [(), ([],), (["x"],), (None,), ("x",)], ids=repr)
@pytest.mark.parametrize("name", [wire.ABORT, wire.REVOKE])
def test_an_unencrypted_signal_has_no_effect(safe: Target, stranger: Celery, name: str, args: Any) -> None:
    chain = safe.app.tasks["shop.wait"].s(1) | safe.app.tasks["shop.next"].s()
    result = chain.apply_async()
    wait_until(lambda: safe.ran, PATIENCE)
    given = ([result.id, result.parent.id],) if args == (["x"],) else args
    for workflow_id in {result.id.rpartition("/")[0] or result.id}:
        signal(stranger, workflow_id, name, *given)
    assert safe.status(result.parent.id).state == "STARTED"
    gate.set()
    assert result.get(timeout=PATIENCE) == 2


def test_an_encrypted_abort_still_acts(safe: Target) -> None:
    from pyramid_temporal_compat.client.task_actions import abort

    result = safe.app.tasks["shop.wait"].delay()
    wait_until(lambda: safe.ran, PATIENCE)
    safe.app.temporal.call(lambda client: abort(client, result.id), PATIENCE)
    wait_until(lambda: result.state == "ABORTED", PATIENCE)
    gate.set()
    result.get(timeout=PATIENCE)


def test_an_unencrypted_failure_is_told_without_its_text(safe: Target) -> None:
    error = {"module": "builtins", "type": "ValueError", "args": [{"value": EVIL}], "text": EVIL}
    for type_ in ("Evil", wire.REVOKED, "ValueError"):
        task_id = forge_failure(safe, error, text=EVIL, type=type_)
        with pytest.raises(SecurityError, match="came unencrypted") as caught:
            safe.app.AsyncResult(task_id).get(timeout=PATIENCE)
        assert EVIL not in str(caught.value)
        task_id = forge_failure(safe, None, text=EVIL, type=type_)
        with pytest.raises(SecurityError, match="came unencrypted"):
            safe.app.AsyncResult(task_id).get(timeout=PATIENCE)


def read(failure: Failure) -> BaseException:
    codecs = [Encryption({"a": bytes(range(32))}, required=True)]
    return asyncio.run(data_converter(codecs).decode_failure(failure))


def written(error: BaseException) -> Failure:
    failure = Failure()
    codecs = [Encryption({"a": bytes(range(32))}, required=True)]
    asyncio.run(data_converter(codecs).encode_failure(error, failure))
    return failure


def test_an_encrypted_failure_is_read_and_its_type_is_bound_to_it() -> None:
    failure = written(ApplicationError("text", {"type": "ValueError"}, type="ValueError"))
    found = read(failure)
    assert isinstance(found, ApplicationError)
    assert (found.message, found.type, found.details) == ("text", "ValueError", ({"type": "ValueError"},))
    failure.application_failure_info.type = wire.REVOKED
    changed = read(failure)
    assert isinstance(changed, ApplicationError)
    assert changed.type == "SecurityError"


def test_the_servers_own_failures_keep_their_kind_and_lose_their_text() -> None:
    for info in ({"timeout_failure_info": TimeoutFailureInfo()}, {"canceled_failure_info": CanceledFailureInfo()}):
        found = read(Failure(message=EVIL, stack_trace=EVIL, **info))  # type: ignore[arg-type]
        assert EVIL not in f"{found!r} {found} {how_it_failed(found)}"
    nested = Failure(message=EVIL, canceled_failure_info=CanceledFailureInfo())
    nested.cause.CopyFrom(Failure(message=EVIL, application_failure_info=ApplicationFailureInfo(type="Evil")))
    found = read(nested)
    assert isinstance(found, CancelledError)
    assert EVIL not in f"{found} {found.__cause__}"


async def start(client: Any, **options: Any) -> None:
    await client.start_workflow("shop.wait", "x", **options)


def test_refused_requests_take_one_line_of_the_log(
    safe: Target, stranger: Celery, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter.refusals, "_next", 0.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert stranger.control.inspect([safe.worker_name], timeout=1).active() is None
        for _ in range(3):
            forged = str(uuid.uuid4())
            stranger.temporal.call(
                lambda client, id=forged: client.start_workflow("shop.wait", "x", id=id, task_queue=safe.queue),
                PATIENCE,
            )
        assert safe.app.tasks["shop.next"].delay(1).get(timeout=PATIENCE) == 2
    about = [record for record in caplog.records if "unencrypted" in record.getMessage() or record.exc_info]
    assert len(about) == 1, [record.getMessage() for record in about]
    assert "\n" not in about[0].getMessage()


def test_a_heartbeat_of_a_stranger_is_read_as_if_it_were_absent(safe: Target) -> None:
    payload = ProtoPayload(metadata={"encoding": b"json/plain"}, data=json.dumps({"state": EVIL}).encode())

    async def decode(client: Any) -> Any:
        return await client.data_converter.decode([payload])

    (found,) = safe.app.temporal.call(decode, PATIENCE)
    assert not isinstance(found, dict)
    assert EVIL not in str(found)
