"""The answers of workers to `inspect()`: their tasks, settings, statistics."""

from __future__ import annotations

import datetime
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import ANY

import pytest

from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.control import CommandRefused, Inspect, waiting_tasks
from tests.parts import wait_until

Start = Callable[..., Any]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds the task `wait` until it is set."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def wait(app: Celery, gate: threading.Event) -> Any:
    @app.task(name="shop.wait", rate_limit="100/s")
    def wait(number: int = 0, scale: int = 1) -> int:
        gate.wait(60)
        return number * scale

    return wait


@pytest.fixture
def add(app: Celery) -> Any:
    @app.task(name="shop.add")
    def add(x: int, y: int, z: int = 0) -> int:
        return x + y + z

    return add


def info(task_id: str, worker: Any, queue: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": task_id,
        "name": "shop.wait",
        "args": [5],
        "kwargs": {},
        "type": "shop.wait",
        "hostname": worker.hostname,
        "time_start": None,
        "acknowledged": False,
        "delivery_info": {"exchange": "", "routing_key": queue, "priority": 0, "redelivered": False},
        "worker_pid": None,
        **changes,
    }


def test_active_shows_the_tasks_that_run(app: Celery, start: Start, wait: Any, queue: str) -> None:
    worker = start()
    result = wait.delay(5)
    inspect = app.control.inspect()
    began = {"time_start": ANY, "acknowledged": True, "worker_pid": os.getpid()}

    found = wait_until(lambda: inspect.active()[worker.hostname])

    assert found == [info(result.id, worker, queue, **began)]
    assert inspect.reserved() == {worker.hostname: []}
    assert inspect.query_task(result.id, "unknown") == {worker.hostname: {result.id: ["active", *found]}}
    (safe,) = inspect.active(safe=True)[worker.hostname]
    assert (safe["args"], safe["kwargs"]) == ("(5,)", "{}")


def test_reserved_shows_the_tasks_that_wait_in_the_pool(app: Celery, start: Start, wait: Any, queue: str) -> None:
    worker = start(concurrency=2)
    app.control.broadcast("pool_shrink", reply=True)
    worker.loop.call_soon_threadsafe(worker.worker.slots.resize, 2)
    results = {wait.delay(5).id for _ in range(2)}
    inspect = app.control.inspect()

    (running,) = wait_until(lambda: inspect.active()[worker.hostname])
    (waiting,) = wait_until(lambda: inspect.reserved()[worker.hostname])

    assert waiting == info(waiting["id"], worker, queue)
    assert {waiting["id"], running["id"]} == results
    assert inspect.query_task([waiting["id"]]) == {worker.hostname: {waiting["id"]: ["reserved", waiting]}}


def test_scheduled_shows_what_the_server_holds_until_its_eta(
    app: Celery, start: Start, wait: Any, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, elsewhere = start("here"), start("elsewhere", queues=[f"{queue}-2"])
    now = datetime.datetime.now(datetime.timezone.utc)
    later, sooner = now + datetime.timedelta(hours=2), now + datetime.timedelta(hours=1)
    second, first = wait.apply_async((5,), eta=later), wait.apply_async((5,), eta=sooner)
    inspect = app.control.inspect()

    found = wait_until(lambda: len(inspect.scheduled()[worker.hostname]) == 2 and inspect.scheduled())

    assert found == {
        elsewhere.hostname: [],
        worker.hostname: [
            {
                "eta": eta.strftime("%Y-%m-%dT%H:%M:%S.%f+00:00"),
                "priority": 6,
                "request": info(result.id, worker, queue),
            }
            for eta, result in ((sooner, first), (later, second))
        ],
    }
    monkeypatch.setattr(waiting_tasks, "start_of", None)  # what was read before is not read again
    assert inspect.scheduled() == found
    assert inspect.query_task(first.id)[worker.hostname][first.id][0] == "scheduled"


def test_registered_shows_tasks_and_the_attributes_asked_for(app: Celery, start: Start, wait: Any, add: Any) -> None:
    worker = start()
    inspect = app.control.inspect()

    def of_the_shop(answer: dict[str, list[str]]) -> list[str]:
        """Return the shop's own tasks. Every app also has the shared tasks of other tests."""
        return [task for task in answer[worker.hostname] if task.startswith("shop.")]

    assert of_the_shop(inspect.registered()) == ["shop.add", "shop.wait [rate_limit=100/s]"]
    assert of_the_shop(inspect.registered_tasks("name", "max_retries", "_app")) == [
        "shop.add [name=shop.add max_retries=3]",
        "shop.wait [name=shop.wait max_retries=3]",
    ]


def test_stats_has_celerys_keys(app: Celery, start: Start, add: Any) -> None:
    worker = start(concurrency=3)
    assert add.delay(1, 2).get(timeout=60) == 3

    stats = app.control.inspect().stats()[worker.hostname]

    assert stats["total"] == {"shop.add": 1}
    assert stats["pid"] == os.getpid()
    assert stats["pool"]["max-concurrency"] == 3
    assert stats["prefetch_count"] == 3
    assert stats["uptime"] > 0
    assert stats["rusage"].keys() >= {"utime", "stime", "maxrss", "minflt", "nvcsw"}
    assert stats["broker"]["transport"] == "temporal"
    assert f"{stats['broker']['hostname']}:{stats['broker']['port']}" == app.conf.ptemporal_address


def test_the_solo_pool_shows_its_one_process(app: Celery, start: Start) -> None:
    worker = start(pool="solo", concurrency=1)
    pool = app.control.inspect().stats()[worker.hostname]["pool"]
    assert (pool["max-concurrency"], pool["processes"]) == (1, [os.getpid()])


def test_the_clock_grows(app: Celery, start: Start) -> None:
    worker = start()
    inspect = app.control.inspect()
    first, second = (inspect.clock()[worker.hostname]["clock"] for _ in range(2))
    assert 0 < first < second


def test_active_queues_has_kombus_form(app: Celery, start: Start, queue: str) -> None:
    worker = start(queues=["celery"])
    assert app.control.inspect().active_queues() == {
        worker.hostname: [
            {
                "alias": None,
                "auto_delete": False,
                "binding_arguments": None,
                "bindings": [],
                "consumer_arguments": None,
                "durable": True,
                "exchange": {
                    "arguments": None,
                    "auto_delete": False,
                    "delivery_mode": None,
                    "durable": True,
                    "name": "celery",
                    "no_declare": False,
                    "passive": False,
                    "type": "direct",
                },
                "exclusive": False,
                "expires": None,
                "max_length": None,
                "max_length_bytes": None,
                "max_priority": None,
                "message_ttl": None,
                "name": "celery",
                "no_ack": False,
                "no_declare": None,
                "queue_arguments": None,
                "routing_key": "celery",
            }
        ]
    }


def test_conf_shows_settings_without_secrets(app: Celery, start: Start) -> None:
    app.conf.update(ptemporal_api_key="hush", ptemporal_tls=False, result_serializer="yaml")
    worker = start()
    conf = app.control.inspect().conf()[worker.hostname]

    assert conf["result_serializer"] == "yaml"
    assert "hush" not in str(conf)
    assert conf.keys() >= {
        "accept_content",
        "broker_heartbeat",
        "broker_url",
        "deprecated_settings",
        "enable_utc",
        "include",
        "result_backend",
        "timezone",
        "worker_hijack_root_logger",
        "worker_log_color",
    }
    assert "worker_prefetch_multiplier" not in conf
    assert "worker_prefetch_multiplier" in app.control.inspect().conf(with_defaults=True)[worker.hostname]


def test_report_is_text_with_versions_and_settings(app: Celery, start: Start, queue: str) -> None:
    worker = start()
    text = app.control.inspect().report()[worker.hostname]["ok"]
    assert "pyramid-temporal-compat" in text
    assert queue in text


def test_memory_is_sampled_and_dumped(app: Celery, start: Start) -> None:
    worker = start()
    inspect = app.control.inspect([worker.hostname], timeout=20)  # a garbage collection may be slow
    sample = inspect.memsample()[worker.hostname]
    dump = inspect.memdump()[worker.hostname]
    assert sample.endswith("MB")
    assert f"- rss (sample):\n-    > {sample}," in dump
    assert "- rss (end): " in dump
    assert "sample" not in inspect.memdump(samples=5)[worker.hostname]


def test_hello_exchanges_revoked_ids(app: Celery, start: Start) -> None:
    worker = start()
    inspect = app.control.inspect()

    (answer,) = inspect.hello("other@test", revoked=["a", "b"]).values()
    assert {"revoked": ["a", "b"], "revoked_stamps": {}, "clock": ANY}.items() <= answer.items()
    assert inspect.hello(worker.hostname) == {worker.hostname: None}
    assert inspect.revoked() == {worker.hostname: ["a", "b"]}


def test_arguments_that_can_not_be_decoded_are_shown_as_text(app: Celery, start: Start, wait: Any) -> None:
    worker = start()
    wait.apply_async((5,), serializer="yaml", countdown=3600)  # yaml is not in accept_content
    inspect = app.control.inspect()

    (found,) = wait_until(lambda: inspect.scheduled()[worker.hostname])

    assert found["request"]["args"] == "(5,)"


def test_objgraph_says_what_to_use(app: Celery) -> None:
    with pytest.raises(CommandRefused, match="memray or py-spy"):
        app.control.inspect().objgraph()


def test_an_inspect_made_by_hand_takes_an_app(app: Celery, start: Start) -> None:
    worker = start()
    assert Inspect(app=app).ping() == {worker.hostname: {"ok": "pong"}}
    with pytest.raises(ValueError, match=r"use app\.control\.inspect\(\)"):
        Inspect().ping()
