"""Signed tasks in a canvas: an attacker without the key chooses neither arguments, nor errors, nor linked tasks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyramid_temporal_compat import chain, chord, group
from pyramid_temporal_compat.client.history import ActivityCompleted, read_history
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, SecurityError
from pyramid_temporal_compat.message.body import write_body
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.message.nodes import GroupNode, TaskNode
from pyramid_temporal_compat.message.tree import Tree
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.errors import to_wire
from pyramid_temporal_compat.payload.serializers import serialize, unregister
from pyramid_temporal_compat.results.result import AsyncResult
from tests.parts import wait_until
from tests.security.conftest import JSON, PATIENCE, Target, whole
from tests.security.test_signing import write_pair
from tests.worker.shop import WorkerThread

EVIL = "the attacker's text"


@pytest.fixture(scope="module")
def running_signer(temporal_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
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
    target = Target(temporal_address, "signer", **settings)
    target.app.setup_security()
    ran = target.ran

    @target.app.task(name="shop.greet")
    def greet(name: Any = "nobody", *more: Any) -> str:
        ran.append(("greet", name, *more))
        return f"hello {name}"

    @target.app.task(name="shop.add")
    def add(*numbers: Any) -> Any:
        return sum(sum(each) if isinstance(each, list) else each for each in numbers)

    @target.app.task(name="shop.break")
    def fails(text: str) -> None:
        raise ValueError(text)

    @target.app.task(name="shop.lament")
    def lament(request: Any, error: BaseException, traceback: str) -> None:
        ran.append(("lament", request.id, request.args, type(error).__name__, str(error), traceback))

    @target.app.task(name="shop.regret", bind=True)
    def regret(self: Any, task_id: str) -> None:
        ran.append(("regret", task_id))

    @target.app.task(name="shop.swap", bind=True)
    def swap(self: Any, number: int) -> Any:
        raise self.replace(add.s(number, 1) | add.s(100))

    @target.app.task(name="shop.join", bind=True)
    def join(self: Any, number: int) -> int:
        self.add_to_chord(add.s(number, 5))
        return number

    @target.app.task(name="shop.grow", bind=True)
    def grow(self: Any, number: int) -> int:
        if self.request.retries == 0:
            raise self.retry(args=(number + 1,), countdown=0)
        return number

    @target.app.task(name="shop.calls_links", bind=True)
    def calls_links(self: Any) -> int:
        ran.append(("links", [signature.task for signature in self.request.callbacks or ()]))
        return 1

    with target.app, WorkerThread(target.app, target.queue, concurrency=8):
        yield target
    unregister("auth")


@pytest.fixture
def signer(running_signer: Target) -> Target:
    running_signer.ran.clear()
    return running_signer


def body_for(task: str, id: str, *args: Any, **place: Any) -> tuple[Payload, ...]:
    """Return the body that the application itself signs."""
    return write_body({"args": list(args), "kwargs": {}, "task": task, "id": id, **place}, "auth")


def signed_message(signer: Target, task: str, *args: Any, **place: Any) -> Message:
    id = str(uuid.uuid4())
    return Message(task, id, body_for(task, id, *args, **place), signer.queue)


def refused(signer: Target, payloads: Any, id: str | None = None) -> str:
    """Start the workflow, wait for its end, and return the text of the error with which it was refused."""
    status = signer.ended(signer.start(*payloads, id=id))
    assert status.error is not None
    assert status.error["type"] in ("SecurityError", "ContentDisallowed", "Unreadable"), status.error
    return str(status.error["text"])


def with_before(message: Message, joins: Any, *payloads: Payload) -> Tree:
    """Return the tree by which an attacker puts values in front of a message's arguments."""
    return Tree(TaskNode(message), before=joins, payloads=payloads)


def result_of(signer: Target, value: Any, **changes: Any) -> Payload:
    """Return what a worker has written as the result of another task."""
    of = {"id": str(uuid.uuid4()), "chord": None, **changes}
    return serialize({"result": value, **of}, "auth")


def error_joins(text: str, **envelope: Any) -> dict[str, Any]:
    failed = {"ptemporal": 1, "task": "shop.break", "id": "failed", "queue": "", **envelope}
    return {"error": json.loads(json.dumps(to_wire(ValueError(text)))), "envelope": failed}


# --- what goes on working --------------------------------------------------------------------------------


def test_signed_tasks_work_in_each_kind_of_canvas(signer: Target) -> None:
    tasks = signer.app.tasks
    add, grow = tasks["shop.add"], tasks["shop.grow"]
    assert chain(add.s(1, 2), add.s(3), add.si(7), add.s(1)).apply_async().get(timeout=PATIENCE) == 8
    assert chain(add.s(1), group(add.s(1), add.s(2)), add.s(10)).apply_async().get(timeout=PATIENCE) == 15
    assert chord([add.s(1), chain(add.s(2), add.s(3))], add.s(100)).apply_async().get(timeout=PATIENCE) == 106
    assert chord([add.s(1), add.s(2)], chain(add.s(1), grow.s())).apply_async().get(timeout=PATIENCE) == 5
    nested = chord([chord([add.s(1), add.s(2)], add.s(3)), group(add.s(4), add.s(5))], add.s(0))
    assert nested.apply_async().get(timeout=PATIENCE) == 15
    body_of_two = chord([add.s(1), add.s(2)], group(add.s(1), add.s(2))).apply_async()
    assert sorted(body_of_two.get(timeout=PATIENCE)) == [4, 5]


def test_signed_tasks_work_where_a_task_changes_its_canvas(signer: Target) -> None:
    tasks = signer.app.tasks
    add = tasks["shop.add"]
    assert tasks["shop.swap"].delay(1).get(timeout=PATIENCE) == 102
    assert chain(tasks["shop.swap"].s(1), add.s(1)).apply_async().get(timeout=PATIENCE) == 103
    assert chord([tasks["shop.swap"].s(1), add.s(1)], add.s()).apply_async().get(timeout=PATIENCE) == 103
    assert chord([tasks["shop.join"].s(1), add.s(2)], add.s(0)).apply_async().get(timeout=PATIENCE) == 9
    assert chord([tasks["shop.grow"].s(1), add.s(2)], add.s(0)).apply_async().get(timeout=PATIENCE) == 4


def test_signed_batches_of_a_large_group_work(signer: Target) -> None:
    add = signer.app.tasks["shop.add"]
    signer.app.conf.ptemporal_canvas_batch = 3
    try:
        assert chord([add.s(n) for n in range(8)], add.s(1)).apply_async().get(timeout=PATIENCE) == 29
        steps = chain(*([add.s(0)] + [add.s(1)] * 7))
        assert steps.apply_async().get(timeout=PATIENCE) == 7
    finally:
        signer.app.conf.ptemporal_canvas_batch = 500


def test_links_are_called_with_the_signed_result(signer: Target) -> None:
    tasks = signer.app.tasks
    tasks["shop.add"].apply_async((1, 2), link=[tasks["shop.greet"].s(), tasks["shop.greet"].s("too")])
    wait_until(lambda: len(signer.ran) == 2, PATIENCE)
    assert sorted(signer.ran) == [("greet", 3), ("greet", 3, "too")]


def test_a_task_sees_the_tasks_that_are_linked_to_it(signer: Target) -> None:
    tasks = signer.app.tasks
    tasks["shop.calls_links"].apply_async(link=tasks["shop.greet"].s()).get(timeout=PATIENCE)
    wait_until(lambda: ("greet", 1) in signer.ran, PATIENCE)
    assert ("links", ["shop.greet"]) in signer.ran


def test_error_callbacks_get_the_error_that_a_worker_has_signed(signer: Target) -> None:
    tasks = signer.app.tasks
    failed = tasks["shop.break"].apply_async(("boom",), link_error=[tasks["shop.lament"].s(), tasks["shop.regret"].s()])
    wait_until(lambda: len(signer.ran) == 2, PATIENCE)
    lament, regret = sorted(signer.ran, key=lambda found: str(found[0]))
    assert lament[:5] == ("lament", failed.id, ["boom"], "ValueError", "boom")
    assert "raise ValueError(text)" in lament[5]
    assert regret == ("regret", failed.id)


def test_a_chords_error_callback_runs_without_the_text_that_nobody_signed(signer: Target) -> None:
    tasks = signer.app.tasks
    body = tasks["shop.add"].s().on_error(tasks["shop.lament"].s())
    result = chord([tasks["shop.break"].s("boom"), tasks["shop.add"].s(1)], body).apply_async()
    wait_until(lambda: signer.ran, PATIENCE)
    ((name, about, _, kind, text, traceback),) = signer.ran
    assert (name, about, kind, traceback) == ("lament", result.id, "SecurityError", "")
    assert "no worker has signed its error" in text


# --- what an attacker without the key tries --------------------------------------------------------------


@pytest.mark.parametrize("joins", [0, [0], [0, 1], [[0], 1]])
def test_results_in_front_of_a_message_that_takes_none_are_refused(signer: Target, joins: Any) -> None:
    message = signed_message(signer, "shop.greet")
    payloads = [result_of(signer, "5"), result_of(signer, "6")][: 2 if "1" in str(joins) else 1]
    assert "not those that it was signed for" in refused(signer, with_before(message, joins, *payloads).encode())
    assert signer.ran == []


def test_an_error_in_front_of_a_message_that_takes_none_is_refused(signer: Target) -> None:
    for task in ("shop.greet", "shop.lament", "shop.regret"):
        message = signed_message(signer, task).copy(joins=error_joins(EVIL))
        assert "not signed as an error callback" in refused(signer, message.encode())
    assert signer.ran == []


def sent_chain(signer: Target) -> tuple[list[Message], list[AsyncResult]]:
    """Run a chain of two tasks, and return its messages as the application signed them, and its results."""
    sent: list[Any] = []
    add, greet = signer.app.tasks["shop.add"], signer.app.tasks["shop.greet"]
    enlist, signer.app.enlist = signer.app.enlist, lambda unit, manager=None: (sent.append(unit), enlist(unit, manager))
    try:
        last = chain(add.s(1, 2), greet.s()).apply_async()
    finally:
        del signer.app.enlist
    assert last.get(timeout=PATIENCE) == "hello 3"
    signer.ran.clear()
    return list(sent[0].messages), [last.parent, last]


def raw_result(signer: Target, workflow_id: str, task_id: str) -> Payload:
    """Return a task's result as anyone may read it on the server."""

    async def read(client: Any) -> Payload:
        async for event in read_history(client, workflow_id):
            if isinstance(event, ActivityCompleted) and event.activity.activity_id == task_id:
                (found,) = await event.result.payloads()
                return found
        raise AssertionError(task_id)

    found: Payload = signer.app.temporal.call(read, PATIENCE)
    return found


def test_a_chains_step_takes_the_result_of_its_own_predecessor_only(signer: Target) -> None:
    (_, step), (first, _) = sent_chain(signer)
    (_, _), (other, _) = sent_chain(signer)
    workflow_of = lambda result: result.id.rpartition("/")[0] or result.id  # noqa: E731
    own, foreign = (raw_result(signer, workflow_of(result), result.id) for result in (first, other))
    forged = Payload(JSON, json.dumps(EVIL).encode())
    again = f"{step.id}-again"
    for joins, payloads in ((0, [foreign]), ([0], [own]), (0, [forged]), ([0, 1], [own, foreign])):
        message = step.copy(joins=joins)
        refused(signer, activity_of(signer, message, *payloads), id=f"{again}-{uuid.uuid4()}")
    assert "came without what it takes" in refused(signer, step.encode(), id=f"{again}-{uuid.uuid4()}")
    assert signer.ran == []


def activity_of(signer: Target, message: Message, *payloads: Payload) -> list[Payload]:
    return with_before(message.copy(joins=None), message.joins, *payloads).encode()


def test_a_result_does_not_pass_for_a_body_and_a_body_not_for_a_result(signer: Target) -> None:
    id = str(uuid.uuid4())
    looks_like_a_body = {"args": [EVIL], "kwargs": {}, "task": "shop.greet", "id": id}
    result = result_of(signer, looks_like_a_body)
    message = Message("shop.greet", id, (whole(result),), signer.queue)
    refused_text = signer.ended(signer.start(*message.encode(), id=id)).error
    assert refused_text is not None
    assert refused_text["type"] in ("InvalidTaskError", "SecurityError")
    (_, step), _ = sent_chain(signer)
    (body,) = body_for("shop.greet", id, EVIL)
    assert "not signed as a result" in refused(signer, activity_of(signer, step.copy(joins=0), body), id=f"x-{id}")
    assert signer.ran == []


def test_a_member_of_another_chord_is_refused(signer: Target) -> None:
    message = signed_message(signer, "shop.join", 1, chord="its own chord")
    for chord_id in ("another chord", None):
        assert "chord" in refused(signer, message.copy(chord=chord_id).encode(), id=str(uuid.uuid4()))


def test_a_chords_body_takes_no_result_twice_and_none_of_another_chord(signer: Target) -> None:
    from pyramid_temporal_compat.security.signed_places import digest

    place = {"ids": digest(["a", "b"]), "count": 2, "chord": "c"}
    first, second = (result_of(signer, number, id=id, chord="c") for number, id in ((1, "a"), (2, "b")))
    joined, stranger = result_of(signer, 3, id="j", chord="c"), result_of(signer, 4, id="s", chord="d")
    for payloads in ((first,), (second, first), (first, second, stranger), (first, second, second)):
        message = signed_message(signer, "shop.add", before=place)
        refused(signer, with_before(message, list(range(len(payloads))), *payloads).encode())
    message = signed_message(signer, "shop.add", before=place)
    started = signer.start(*with_before(message, [0, 1, 2], first, second, joined).encode(), id=message.id)
    assert signer.app.AsyncResult(started).get(timeout=PATIENCE) == 6


def test_an_error_callback_gets_no_text_of_an_attacker(signer: Target) -> None:
    about = {"task": "shop.break", "id": "the failed task"}
    forged = error_joins(EVIL, id=EVIL, task="evil", argsrepr=EVIL, headers={"x": EVIL}, root_id=EVIL)
    signed_elsewhere = {**forged, "error": {**forged["error"], "signature": "forged"}}
    for joins in (forged, signed_elsewhere):
        for task in ("shop.lament", "shop.regret"):
            message = signed_message(signer, task, error_of=about).copy(joins=joins)
            tree = with_before(message.copy(joins=None), joins)
            assert signer.ended(signer.start(*tree.encode(), id=message.id)).state == "SUCCESS"
    assert EVIL not in str(signer.ran)
    assert {found[1] for found in signer.ran} == {"the failed task"}


def test_linked_tasks_that_were_not_signed_are_refused(signer: Target) -> None:
    evil = signed_message(signer, "shop.greet", EVIL)
    message = signed_message(signer, "shop.calls_links")
    linked = Tree(GroupNode(message.id, (), (TaskNode(evil),), ()))
    node = TaskNode(message, links=linked.root.links)  # type: ignore[union-attr]
    assert "tasks linked to it" in refused(signer, Tree(node).encode(), id=message.id)
    assert signer.ran == []


def test_a_result_of_another_task_is_not_returned(signer: Target) -> None:
    result = signer.app.tasks["shop.add"].delay(1)
    assert result.get(timeout=PATIENCE) == 1
    other = signer.app.AsyncResult("another task")
    other._ended = result._ended
    with pytest.raises(SecurityError, match="signed as the result of another task"):
        other.get()


def test_a_canvas_whose_results_would_not_be_signed_is_an_error_at_the_call(signer: Target) -> None:
    add = signer.app.tasks["shop.add"]
    signer.app.conf.update(result_serializer="json")
    try:
        with pytest.raises(ImproperlyConfigured, match="set result_serializer = 'auth'"):
            chain(add.s(1), add.s(2)).apply_async()
    finally:
        signer.app.conf.update(result_serializer="auth")
