"""Tasks that are called by Temporal clients that know nothing of this package: arguments, and no envelope."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import uuid
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload as ProtoPayload
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.exceptions import NotRegistered
from pyramid_temporal_compat.message.body import KWARGS
from pyramid_temporal_compat.server.embedded import find_binary
from tests.parts import wait_until
from tests.worker.shop import Shop, WorkerThread, add, describe, events, note

PATIENCE = 60


@shared_task
def packs(item: Any = "nothing", *more: Any, **named: Any) -> list[Any]:
    return [item, *more, named]


@shared_task(bind=True, max_retries=2, default_retry_delay=0, soft_time_limit=50, time_limit=60, priority=7)
def asks(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    request = self.request
    if request.retries < 2:
        raise self.retry(exc=LookupError("not yet"))
    names = "id root_id parent_id retries argsrepr kwargsrepr origin args kwargs timelimit expires headers group"
    found = {name: getattr(request, name) for name in names.split()}
    return {**found, "delivery_info": dict(request.delivery_info)}


@shared_task(acks_late=False, expires=3600)
def runs_at_most_once() -> str:
    return "done"


@shared_task
def fails(number: int) -> None:
    raise ValueError(f"no parcel {number}")


@shared_task(bind=True)
def adds_by_canvas(self: Any, x: int) -> None:
    raise self.replace(add.s(x, 1) | add.s(1))


class Stranger:
    """A client of Temporal's own, without our converter and our interceptors."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.address = shop.app.conf.ptemporal_address

    def start(self, type: str, *args: Any, id: str = "", queue: str = "") -> str:
        workflow_id = id or str(uuid.uuid4())

        async def start() -> None:
            client = await Client.connect(self.address)
            await client.start_workflow(type, args=args, id=workflow_id, task_queue=queue or self.shop.queue)

        asyncio.run(start())
        return workflow_id

    def result(self, workflow_id: str) -> Any:
        async def read() -> Any:
            client = await Client.connect(self.address)
            return await asyncio.wait_for(client.get_workflow_handle(workflow_id).result(), PATIENCE)

        return asyncio.run(read())

    def call(self, type: str, *args: Any, **options: Any) -> Any:
        return self.result(self.start(type, *args, **options))

    def failure(self, workflow_id: str) -> ApplicationError:
        with pytest.raises(WorkflowFailureError) as raised:
            self.result(workflow_id)
        cause = raised.value.cause
        assert isinstance(cause, ApplicationError)
        return cause

    def command(self, *arguments: str) -> Any:
        """Return what the command `temporal` prints."""
        command = [find_binary(), *arguments, "--address", self.address, "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return json.loads(done.stdout)


@pytest.fixture
def stranger(shop: Shop) -> Stranger:
    return Stranger(shop)


def raw(data: bytes, encoding: str = "json/plain", **metadata: bytes) -> RawValue:
    return RawValue(ProtoPayload(metadata={"encoding": encoding.encode(), **metadata}, data=data))


# --- the command ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "result"),
    [
        (["42"], [42, {}]),
        ([], ["nothing", {}]),
        (["1", '"two"', "[3, null]"], [1, "two", [3, None], {}]),
        (['{"a": {"b": 1}}'], [{"a": {"b": 1}}, {}]),
        (["[7, [1]]"], [[7, [1]], {}]),
        (["null"], [None, {}]),
        (['{"ptemporal-tree":1,"root":{}}'], [{"ptemporal-tree": 1, "root": {}}, {}]),
    ],
    ids=["one", "none", "several", "object", "list", "null", "looks like ours"],
)
def test_the_command_temporal_calls_a_task(stranger: Stranger, inputs: list[str], result: Any) -> None:
    given = [part for each in inputs for part in ("--input", each)]
    where = ("--task-queue", stranger.shop.queue, "--workflow-id", str(uuid.uuid4()))
    done = stranger.command("workflow", "execute", "--type", packs.name, *where, *given)
    assert (done["status"], done["result"]) == ("COMPLETED", result)


def test_the_command_temporal_gives_keyword_arguments(stranger: Stranger) -> None:
    marked = ("--input-meta", "encoding=json/plain", "--input-meta", f"{KWARGS}=1")
    where = ("--task-queue", stranger.shop.queue, "--workflow-id", str(uuid.uuid4()))
    done = stranger.command("workflow", "execute", "--type", add.name, *where, "--input", '{"x": 1, "y": 2}', *marked)
    assert (done["status"], done["result"]) == ("COMPLETED", 3)


# --- another client ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task_id", ["order-{}", "orders/{}/7", "a//b/{}", "{} with a space, and an é", "{}" + "x" * 900, "{}/b1/1"]
)
def test_the_id_of_the_workflow_is_the_id_of_the_task(stranger: Stranger, task_id: str) -> None:
    task_id = task_id.format(uuid.uuid4().hex[:8])
    assert stranger.call(packs.name, 42, id=task_id) == [42, {}]
    result = stranger.shop.app.AsyncResult(task_id)
    assert (result.get(timeout=PATIENCE), result.state, result.name) == ([42, {}], "SUCCESS", packs.name)
    assert (result.args, result.kwargs) == ([42], {})


def test_an_id_that_no_task_can_have_is_refused(stranger: Stranger) -> None:
    refused = stranger.failure(stranger.start(packs.name, 42, id=f"two\nlines-{uuid.uuid4()}"))
    assert refused.type == "InvalidTaskError"
    assert "printable text; start the workflow with another id" in refused.message


def test_bytes_and_nothing_are_arguments_too(stranger: Stranger) -> None:
    assert stranger.call(packs.name, None, raw(b"text", "binary/plain")) == [
        None,
        {"__type__": "bytes", "__value__": "text"},
        {},
    ]


def test_what_the_task_says_about_its_runs_holds(stranger: Stranger) -> None:
    task_id = stranger.start(asks.name, 1, "two", [True])
    found = stranger.result(task_id)
    assert found == {
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "retries": 2,
        "argsrepr": '(1, "two", [true])',
        "kwargsrepr": "{}",
        "origin": None,
        "args": [1, "two", [True]],
        "kwargs": {},
        "timelimit": [60, 50],
        "expires": None,
        "headers": None,
        "group": None,
        "delivery_info": {"exchange": "", "priority": 7, "redelivered": False, "routing_key": stranger.shop.queue},
    }
    stranger.call(runs_at_most_once.name, id=f"{task_id}-once")
    (scheduled,) = activities(stranger.shop, f"{task_id}-once")
    assert scheduled.retry_policy.maximum_attempts == 1
    assert 3500 < scheduled.schedule_to_start_timeout.ToTimedelta().total_seconds() <= 3600


def activities(shop: Shop, workflow_id: str) -> list[Any]:
    kind = "activity_task_scheduled_event_attributes"
    return [getattr(event, kind) for event in events(shop, workflow_id) if event.HasField(kind)]


def test_a_task_called_from_outside_may_be_replaced_by_a_canvas(stranger: Stranger) -> None:
    assert stranger.call(adds_by_canvas.name, 5, id=f"orders/{uuid.uuid4()}") == 7


def test_the_task_runs_in_the_application_s_transaction(stranger: Stranger) -> None:
    stranger.call(note.name, "from afar")
    assert stranger.shop.lines() == ["from afar"]


def test_results_and_errors_can_be_read_by_any_client(stranger: Stranger) -> None:
    own = add.delay(1, 2)
    assert stranger.result(own.id) == 3
    failed = stranger.failure(stranger.start(fails.name, 7))
    assert (failed.type, failed.message) == ("ValueError", "no parcel 7")
    assert failed.failure is not None
    assert failed.failure.stack_trace.startswith("Traceback (most recent call last):\n  File")
    assert "in fails" in failed.failure.stack_trace.splitlines()[1]
    assert "temporalio" not in failed.failure.stack_trace


def test_a_call_from_outside_can_be_revoked(stranger: Stranger) -> None:
    queue = f"nobody-{uuid.uuid4()}"
    task_id = stranger.start(packs.name, 1, queue=queue)
    result = stranger.shop.app.AsyncResult(task_id)
    assert result.state == "PENDING"
    result.revoke()
    wait_until(lambda: result.state == "REVOKED", PATIENCE)


# --- calls that can't be run ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "args", "kind", "text"),
    [
        (add, (1,), "InvalidArguments", "missing a required argument: 'y'"),
        (add, (1, 2, 3), "InvalidArguments", "too many positional arguments"),
        (packs, (raw(b"\x08\x01", "binary/protobuf"),), "Unreadable", "send JSON"),
        (packs, (raw(b"{}", "json/protobuf"),), "Unreadable", "send JSON"),
        (packs, (raw(b"x", "binary/encrypted"),), "Unreadable", "ptemporal.encryption_keys"),
        (packs, (raw(b"{"),), "Unreadable", "is not JSON"),
        (packs, (raw(b"[1]", **{KWARGS: b"1"}),), "InvalidTaskError", "keyword arguments"),
        (packs, (raw(b"[1]", **{"ptemporal-body": b"1"}),), "InvalidTaskError", "holds no arguments"),
    ],
    ids=["too few", "too many", "protobuf", "json protobuf", "encrypted", "cut off", "kwargs", "body"],
)
def test_a_call_that_can_not_be_run_fails_once_and_says_why(
    stranger: Stranger, task: Any, args: tuple[Any, ...], kind: str, text: str
) -> None:
    task_id = stranger.start(task.name, *args)
    failed = stranger.failure(task_id)
    assert failed.type == kind
    assert text in failed.message
    assert failed.failure is not None
    assert "pyramid_temporal_compat/" not in failed.failure.stack_trace.rpartition("direct cause")[2]
    assert len(activities(stranger.shop, task_id)) == 1


def test_a_task_that_the_worker_does_not_know_waits_and_the_server_says_why(
    stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    """As Temporal does it for a workflow type that is not registered: the next deploy may bring the task."""
    name = f"tests.of_tomorrow_{uuid.uuid4().hex[:6]}"
    task_id = stranger.start(name, 6)
    kind = "workflow_task_failed_event_attributes"
    wait_until(lambda: any(event.HasField(kind) for event in events(stranger.shop, task_id)), PATIENCE)
    (failed,) = [event for event in events(stranger.shop, task_id) if event.HasField(kind)]
    assert f"workflow type {name!r} is neither a task's nor registered" in getattr(failed, kind).failure.message
    assert "ptemporal-compat list tasks" in caplog.text
    stranger.shop.app.task(name=name)(lambda number: number + 1)
    try:
        assert stranger.result(task_id) == 7
    finally:
        stranger.shop.app.tasks.unregister(name)


def test_a_task_that_the_worker_does_not_know_fails_if_the_setting_says_so(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stranger.shop.app.conf, "ptemporal_unknown_task", "fail")
    task_id = stranger.start("tests.not_there", 42)
    assert "ptemporal.include" in stranger.failure(task_id).message
    with pytest.raises(NotRegistered, match=r"tests\.not_there"):
        stranger.shop.app.AsyncResult(task_id).get(timeout=PATIENCE)


def test_a_call_that_a_worker_has_run_is_complete_after_the_worker_has_ended(stranger: Stranger) -> None:
    queue = f"brief-{uuid.uuid4().hex[:8]}"
    with WorkerThread(stranger.shop.app, queue):
        first = stranger.start(packs.name, 1, queue=queue)
        assert stranger.result(first) == [1, {}]
    assert describe(stranger.shop, first).status.name == "COMPLETED"


def test_the_mark_of_keyword_arguments_counts_on_the_last_argument_only(stranger: Stranger) -> None:
    assert stranger.call(packs.name, raw(b'{"a":1}', **{KWARGS: b"1"}), 1) == [{"a": 1}, 1, {}]


# --- our own calls, as others see them -----------------------------------------------------------------


def started_with(shop: Shop, task_id: str) -> Any:
    return events(shop, task_id)[0].workflow_execution_started_event_attributes


def test_the_input_of_a_call_is_its_arguments_and_nothing_else(shop: Shop) -> None:
    called = packs.apply_async((1, {"a": [2]}), {"colour": "red"}, headers={"tenant": "acme"})
    assert called.get(timeout=PATIENCE) == [1, {"a": [2]}, {"colour": "red"}]
    (scheduled,) = activities(shop, called.id)
    for given in (started_with(shop, called.id), scheduled):
        data = [json.loads(payload.data) for payload in given.input.payloads]
        assert data == [1, {"a": [2]}, {"colour": "red"}]
        assert [KWARGS in payload.metadata for payload in given.input.payloads] == [False, False, True]
        envelope = json.loads(given.header.fields["ptemporal"].data)
        assert (envelope["id"], envelope["headers"]) == (called.id, {"tenant": "acme"})


def test_a_step_of_a_canvas_shows_its_arguments_and_then_the_previous_result(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(shop.app.conf, "ptemporal.slice", 0)
    last = (packs.s(1, 2) | packs.s(5, colour="red")).apply_async()
    assert last.get(timeout=PATIENCE) == [[1, 2, {}], 5, {"colour": "red"}]
    _, step = activities(shop, last.id.rpartition("/")[0] or last.id)
    assert [json.loads(payload.data) for payload in step.input.payloads] == [5, {"colour": "red"}, [1, 2, {}]]


def test_the_plan_of_a_canvas_can_be_read(shop: Shop) -> None:
    last = (packs.s(1, 2) | packs.s(5)).apply_async()
    last.get(timeout=PATIENCE)
    given = started_with(shop, last.id.rpartition("/")[0] or last.id)
    plan, *arguments = (json.loads(payload.data) for payload in given.input.payloads)
    assert [step["task"]["task"] for step in plan["root"]["steps"]] == [packs.name] * 2
    assert arguments == [1, 2, 5]
    assert json.loads(given.header.fields["ptemporal"].data) == {"ptemporal-tree": 1}


def test_a_canvas_of_tasks_without_arguments_and_with_many_goes_there_and_back(shop: Shop) -> None:
    from pyramid_temporal_compat import group

    calls = [packs.s(), packs.s(*range(40)), packs.s(a=1), packs.s(None)]
    together = group(calls * 200).apply_async()
    assert (
        together.get(timeout=60)
        == [
            ["nothing", {}],
            [*range(40), {}],
            ["nothing", {"a": 1}],
            [None, {}],
        ]
        * 200
    )


def test_what_a_stranger_calls_is_logged_with_its_arguments(
    stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        task_id = stranger.start(packs.name, "a\nb")
        stranger.result(task_id)
    assert task_id in caplog.text
    (scheduled,) = [
        event
        for event in events(stranger.shop, task_id)
        if "scheduled" in str(event.WhichOneof("attributes")) and event.HasField("user_metadata")
    ]
    assert json.loads(scheduled.user_metadata.summary.data) == f'{packs.name}("a\\nb")'
