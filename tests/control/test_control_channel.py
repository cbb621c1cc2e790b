"""How a control call finds workers, and the replies that it returns."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
import textwrap
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import transaction

from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.client.standalone import has_standalone_activities
from pyramid_temporal_compat.control import CommandRefused, flatten_reply
from pyramid_temporal_compat.control.addresses import Address
from pyramid_temporal_compat.control.channel import (
    DOUBT_LASTS,
    ControlRequest,
    Post,
    Silence,
)
from pyramid_temporal_compat.control.worker_commands import Panel, State, control_command, inspect_command
from pyramid_temporal_compat.exceptions import DuplicateNodenameWarning, OperationalError, WorkerTerminate
from pyramid_temporal_compat.server import EmbeddedServer
from tests.parts import wait_until

Start = Callable[..., Any]
PONG = {"ok": "pong"}


@pytest.fixture
def own_command() -> Iterator[Callable[[str], str]]:
    """Names for commands that a test adds. They are removed after the test."""
    names = []

    def name(wanted: str) -> str:
        names.append(f"{wanted}_{uuid.uuid4().hex[:6]}")
        return names[-1]

    yield name
    for known in names:
        Panel.data.pop(known, None)
        Panel.meta.pop(known, None)


def nodes(replies: list[dict[str, Any]] | None) -> set[str]:
    return {node for reply in replies or [] for node in reply}


def test_every_worker_answers(app: Celery, start: Start) -> None:
    first, second = start("first"), start("second", queues=["elsewhere"])

    assert sorted(app.control.ping(), key=str) == sorted([{first.hostname: PONG}, {second.hostname: PONG}], key=str)
    assert app.control.inspect().ping() == {first.hostname: PONG, second.hostname: PONG}


def test_without_workers_there_is_no_answer(app: Celery) -> None:
    assert app.control.ping() == []
    assert app.control.inspect().ping() is None
    assert app.control.broadcast("ping") is None


def test_a_worker_that_has_stopped_is_not_asked(app: Celery, start: Start) -> None:
    first, second = start("first"), start("second")
    second.stop()

    assert app.control.ping() == [{first.hostname: PONG}]


def test_a_destination_chooses_workers(app: Celery, start: Start) -> None:
    first, second = start("first"), start("second")

    assert app.control.ping(destination=[second.hostname]) == [{second.hostname: PONG}]
    assert app.control.ping(destination=[first.hostname, "nobody@test"]) == [{first.hostname: PONG}]
    assert app.control.inspect([first.hostname]).ping() == {first.hostname: PONG}
    assert app.control.inspect(first.hostname).ping() == PONG
    assert app.control.inspect(["nobody@test"]).ping() is None
    assert app.control.inspect().ping(destination=[second.hostname]) == {second.hostname: PONG}


def test_a_pattern_chooses_workers(app: Celery, start: Start) -> None:
    first, second = start("first"), start("second")

    assert nodes(app.control.ping(pattern="first-*")) == {first.hostname}
    assert nodes(app.control.ping(pattern="second-.+@test$", matcher="pcre")) == {second.hostname}
    assert app.control.inspect(pattern="*@test", matcher="glob").ping() == {first.hostname: PONG, second.hostname: PONG}


def test_an_invalid_destination_or_matcher_is_an_error(app: Celery) -> None:
    with pytest.raises(ValueError, match="there is no matcher 'prefix'; there are glob, pcre"):
        app.control.ping(pattern="x", matcher="prefix")
    with pytest.raises(ValueError, match="destination=5; it takes a list of node names"):
        app.control.ping(destination=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout=0; it takes a number of seconds above 0"):
        app.control.ping(timeout=0)


def test_a_limit_ends_the_call_early_and_a_callback_sees_each_reply(app: Celery, start: Start) -> None:
    start("first"), start("second")
    seen: list[Any] = []

    replies = app.control.ping(limit=1, callback=seen.append)

    assert len(replies) == 1
    assert seen == replies


def test_two_workers_of_one_name_both_answer_with_a_warning(app: Celery, start: Start) -> None:
    first = start("same")
    start(hostname=first.hostname)

    assert app.control.ping() == [{first.hostname: PONG}, {first.hostname: PONG}]
    with pytest.warns(DuplicateNodenameWarning, match=f"more than one worker answered as {first.hostname}"):
        assert app.control.inspect().ping() == {first.hostname: PONG}


def test_replies_of_workers_with_different_names_are_flattened_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert flatten_reply([{"a": 1}, {"b": 2}]) == {"a": 1, "b": 2}


def test_a_call_is_sent_at_once_even_inside_a_transaction(app: Celery, start: Start) -> None:
    worker = start()
    with transaction.manager:
        assert app.control.ping() == [{worker.hostname: PONG}]


def test_a_server_that_is_away_is_an_error(app: Celery) -> None:
    app.conf.update(ptemporal_address="127.0.0.1:1", ptemporal_dispatch_timeout=1)
    with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1"):
        app.control.ping()


def test_arguments_that_can_not_be_serialized_are_an_error_of_the_caller(app: Celery) -> None:
    with pytest.raises(TypeError, match="the arguments of the control command 'mine'"):
        app.control.broadcast("mine", {"handle": open})


# --- commands of an application's own ------------------------------------------------------------------


def test_an_own_command_is_called_with_the_workers_state(
    app: Celery, start: Start, own_command: Callable[[str], str]
) -> None:
    name = own_command("sum")

    @control_command(name=name, args=[("a", int), ("b", int)], signature="<a> <b>")
    def add(state: State, a: int, b: int) -> dict[str, Any]:
        """Add two numbers.

        And nothing else.
        """
        return {"ok": a + b, "node": state.hostname, "app": state.app is app}

    worker = start()

    assert app.control.broadcast(name, arguments={"a": 1}, b=2, reply=True) == [
        {worker.hostname: {"ok": 3, "node": worker.hostname, "app": True}}
    ]
    assert Panel.meta[name].help == "Add two numbers."
    assert Panel.meta[name].type == "control"


def test_an_own_command_may_wait(app: Celery, start: Start, own_command: Callable[[str], str]) -> None:
    name, alias = own_command("wait"), own_command("alias")

    @inspect_command(name=name, alias=alias)
    async def wait(state: State) -> str:
        await asyncio.sleep(0.01)
        return "done"

    worker = start()

    assert app.control.broadcast(name, reply=True) == [{worker.hostname: "done"}]
    assert app.control.broadcast(alias, reply=True) == [{worker.hostname: "done"}]


def test_the_commands_of_celerys_manual_work(app: Celery, start: Start, own_command: Callable[[str], str]) -> None:
    increase, current = own_command("increase"), own_command("current")

    @Panel.register(name=increase)
    def increase_prefetch_count(state: State, n: int = 1) -> dict[str, str]:
        state.consumer.qos.increment_eventually(n)
        return {"ok": "prefetch count incremented"}

    @inspect_command(name=current)
    def current_prefetch_count(state: State) -> dict[str, int]:
        return {"prefetch_count": state.consumer.qos.value}

    worker = start(concurrency=2)

    assert app.control.broadcast(increase, {"n": 3}, reply=True) == [
        {worker.hostname: {"ok": "prefetch count incremented"}}
    ]
    assert app.control.broadcast(current, reply=True) == [{worker.hostname: {"prefetch_count": 5}}]


def test_a_command_that_fails_answers_with_its_error_and_harms_nothing(
    app: Celery, start: Start, own_command: Callable[[str], str]
) -> None:
    failing, unsendable = own_command("failing"), own_command("unsendable")

    @control_command(name=failing)
    def fail(state: State) -> None:
        raise KeyError("no such thing")

    @control_command(name=unsendable)
    def give_a_function(state: State) -> Any:
        return {"ok": open}

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    worker = start()

    for _ in range(5):
        app.control.broadcast(failing)
    assert app.control.broadcast(failing, reply=True) == [{worker.hostname: {"error": "KeyError('no such thing')"}}]
    (unsent,) = app.control.broadcast(unsendable, reply=True) or []
    assert "the reply of the control command" in unsent[worker.hostname]["error"]
    (wrong,) = app.control.broadcast("ping", {"ids": 1}, reply=True) or []
    assert wrong == {worker.hostname: PONG}
    (missing,) = app.control.broadcast("pool_grow", {"n": "x"}, reply=True) or []
    assert "error" in missing[worker.hostname]
    assert app.control.ping() == [{worker.hostname: PONG}]
    assert add.delay(4, 4).get(timeout=60) == 8


def test_an_unknown_command_is_answered_with_an_error(app: Celery, start: Start) -> None:
    worker = start()
    (reply,) = app.control.broadcast("pingg", reply=True) or []

    assert reply[worker.hostname]["error"].startswith("there is no control command 'pingg'; there are active, ")


def test_a_slow_command_delays_no_other_and_its_reply_is_left_out(
    app: Celery, start: Start, own_command: Callable[[str], str]
) -> None:
    name = own_command("slow")
    go = asyncio.Event()

    @control_command(name=name)
    async def slow(state: State) -> str:
        await go.wait()
        return "at last"

    worker = start()
    with ThreadPoolExecutor() as threads:
        slow_call = threads.submit(app.control.broadcast, name, reply=True, timeout=20)
        assert app.control.ping() == [{worker.hostname: PONG}]
        assert app.control.broadcast(name, reply=True, timeout=0.2) == []
        worker.loop.call_soon_threadsafe(go.set)
        assert slow_call.result() == [{worker.hostname: "at last"}]


def test_a_command_that_is_removed_is_refused(app: Celery, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = start()
    monkeypatch.delitem(Panel.data, "shutdown")

    (reply,) = app.control.shutdown(reply=True) or []
    assert "there is no control command 'shutdown'" in reply[worker.hostname]["error"]
    assert app.control.ping() == [{worker.hostname: PONG}]


def test_a_command_may_end_its_worker_at_once(app: Celery, start: Start, own_command: Callable[[str], str]) -> None:
    name = own_command("end")

    @control_command(name=name)
    def end(state: State) -> None:
        raise WorkerTerminate(0)

    worker = start()
    assert app.control.broadcast(name, reply=True) == [{worker.hostname: {"ok": "terminating"}}]
    worker.thread.join(60)
    assert not worker.thread.is_alive()


# --- unsupported calls -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("enable_events", "Workers send no event messages"),
        ("disable_events", "Workers send no event messages"),
        ("heartbeat", r"app\.control\.ping\(\) and `ptemporal-compat status` show which workers answer"),
        ("election", "Workers hold no elections"),
        ("pool_restart", "Restart the worker"),
        ("Mailbox", r"use app\.control\.broadcast\(\)"),
    ],
)
def test_an_unsupported_call_is_refused_and_says_what_to_use(app: Celery, name: str, sentence: str) -> None:
    with pytest.raises(CommandRefused, match=f"{name}: .*{sentence}"):
        getattr(app.control, name)()


def test_a_broadcast_of_an_unsupported_command_is_refused_too(app: Celery, start: Start) -> None:
    worker = start()
    (reply,) = app.control.broadcast("enable_events", reply=True) or []
    assert reply[worker.hostname]["error"].startswith("enable_events: Workers send no event messages")


def test_remote_control_can_be_turned_off(app: Celery, start: Start) -> None:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    app.conf.worker_enable_remote_control = False
    start()

    assert app.control.ping() == []
    assert add.delay(1, 2).get(timeout=60) == 3


# --- other servers, other processes ------------------------------------------------------------------------


def test_calls_are_encrypted_if_payloads_are_encrypted(app: Celery, start: Start) -> None:
    app.conf.ptemporal_encryption_keys = ["k1:" + base64.b64encode(bytes(32)).decode()]
    worker = start()
    assert app.control.ping() == [{worker.hostname: PONG}]


@pytest.fixture
def other_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server with the dynamic configuration that the test asks for."""
    arguments = [part for option in request.param for part in ("--dynamic-config-value", option)]
    with EmbeddedServer(headless=True, extra_args=arguments) as server:
        yield server.address


@pytest.mark.parametrize("other_server", [["activity.enableStandalone=false"]], indirect=True)
def test_a_server_without_standalone_activities_carries_calls_as_workflows(
    other_server: str, app: Celery, start: Start
) -> None:
    app.conf.ptemporal_address = other_server
    first, second = start("first"), start("second")

    assert not app.temporal.call(has_standalone_activities)
    assert nodes(app.control.ping(timeout=10)) == {first.hostname, second.hostname}


FOUR_PARTITIONS = [f"matching.numTaskqueue{kind}Partitions=4" for kind in ("Read", "Write")]


@pytest.mark.parametrize("other_server", [FOUR_PARTITIONS], indirect=True)
def test_workers_are_found_on_every_partition_of_a_bigger_server(other_server: str, app: Celery, start: Start) -> None:
    app.conf.ptemporal_address = other_server
    workers = [start(f"w{number}") for number in range(5)]

    assert nodes(app.control.ping(timeout=10)) == {worker.hostname for worker in workers}


WORKER = """
    import asyncio, sys
    from pyramid_temporal_compat.app import Celery
    from pyramid_temporal_compat.worker.worker import Worker

    address, queue, hostname = sys.argv[1:]
    app = Celery("shop")
    app.conf.update(ptemporal_address=address, task_default_queue=queue)
    worker = Worker(app, hostname=hostname, concurrency=1, pool="threads")
    worker.on_ready = lambda: print("ready", flush=True)
    worker.run()
"""


@pytest.mark.parametrize("other_server", [[]], indirect=True)  # other tests would wait for the stopped worker too
def test_a_worker_that_was_late_once_gets_the_time_that_a_later_call_asks_for(
    other_server: str, app: Celery, start: Start, queue: str
) -> None:
    app.conf.ptemporal_address = other_server
    name = f"late-{uuid.uuid4().hex[:6]}@test"
    command = [sys.executable, "-c", textwrap.dedent(WORKER), other_server, queue, name]
    alive = start("alive")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda: nodes(app.control.ping(timeout=0.5)) == {alive.hostname})
            resumed = threading.Timer(0.5, os.kill, (process.pid, signal.SIGCONT))
            resumed.start()
            assert nodes(app.control.ping(timeout=60, limit=2)) == {alive.hostname, name}
            resumed.join()
        finally:
            os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("timeout", "polled", "later", "doubtful"),
    [
        (1.0, 50.0, 1.0, True),
        (0.5, 50.0, 1.0, True),
        (20.0, 50.0, 1.0, False),  # the caller has more patience than the last one
        (1.0, 51.0, 1.0, False),  # the worker has polled since
        (1.0, 50.0, DOUBT_LASTS, False),  # it may have been busy, and be free again
    ],
)
def test_which_worker_is_probably_dead(timeout: float, polled: float, later: float, doubtful: bool) -> None:
    post, worker, now = Post(patience=5), Address("w@host", "mailbox"), 100.0
    post._silent[worker] = Silence(polled=50.0, waited=1.0, since=now)
    found = post._doubtful({worker: polled}, ControlRequest("ping", {}, timeout), now + later)
    assert found == ({worker} if doubtful else set())


def test_a_worker_learns_what_others_have_revoked(app: Celery, start: Start, temporal_address: str, queue: str) -> None:
    name = f"new-{uuid.uuid4().hex[:6]}@test"
    start("old")
    app.control.revoke("never-sent")
    app.control.revoke_by_stamped_headers({"customer": ["7"]})
    command = [sys.executable, "-c", textwrap.dedent(WORKER), temporal_address, queue, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            inspect = app.control.inspect([name])
            wait_until(lambda: (inspect.revoked() or {}).get(name) == ["never-sent"])
        finally:
            process.terminate()
