"""The bridge on a real Redis: messages of a real Celery, killed processes, brokers and servers that go away."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis as redis_client

from pyramid_temporal_compat import Celery, states
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, OperationalError
from pyramid_temporal_compat.migrate import bridge as bridge_module
from pyramid_temporal_compat.migrate.bridge import Bridge
from pyramid_temporal_compat.migrate.carrier_process import BrokerAddress, CarrierLost
from pyramid_temporal_compat.server.embedded import EmbeddedServer
from tests.cli.parts import SCRIPT, environment
from tests.migrate import bridge_app
from tests.migrate.bridge_parts import (
    CHORD,
    QUEUE,
    all_ran_once,
    carriers,
    carry,
    envelope,
    id_of,
    in_move_tests,
    lists,
    produce,
    standing,
)
from tests.parts import ROOT, wait_until
from tests.worker.shop import WorkerThread

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(redis: Any) -> Iterator[BrokerAddress]:
    redis.flushall()
    yield BrokerAddress(f"redis+socket://{redis.socket_file}?virtual_host=0")
    assert redis.hlen("unacked") == redis.zcard("unacked_index") == 0, "the bridge has left messages in its hands"


def test_messages_of_a_real_producer_run_here_once_under_their_ids(
    running: Any, broker: BrokerAddress, redis: Any
) -> None:
    sent = produce(broker.url, 8)
    ids = dict(sent)
    carried = carry(running, broker)
    assert (carried.started.total(), carried.kept, lists(redis)) == (12, {}, {})
    for kind, id in sent:
        result = running.AsyncResult(id)
        wait_until(result.ready)
        assert result.state == (states.REVOKED if kind == "expired" else states.SUCCESS), kind
        assert bridge_app.ran[id] == (0 if kind == "expired" else 1), kind
    assert running.AsyncResult(ids["chain"]).get(timeout=30) == 36
    assert bridge_app.seen[ids["single"]] == {"headers": {"tenant": "x"}, "retries": 0}
    assert bridge_app.seen[ids["retried"]]["retries"] == 2


def test_second_delivery_starts_nothing(running: Any, broker: BrokerAddress, redis: Any) -> None:
    step = {"task": "shop.note", "args": [], "kwargs": {}, "options": {}}
    single, chain = envelope(), envelope(embed={"chain": [step]})
    for _ in range(2):
        redis.lpush(QUEUE, single, chain)
        assert carry(running, broker).started.total() == 2
    wait_until(lambda: running.AsyncResult(id_of(single)).ready())
    wait_until(lambda: bridge_app.ran[id_of(chain)])
    assert (bridge_app.ran[id_of(single)], bridge_app.ran[id_of(chain)]) == (1, 1)


def test_what_can_not_be_carried_is_left_as_it_was(running: Any, broker: BrokerAddress, redis: Any) -> None:
    kept = [envelope(embed=CHORD), b"no message", envelope("shop.gone"), envelope(embed=CHORD)]
    urgent = [envelope(embed=CHORD), envelope(eta="soon")]
    other = [envelope(embed=CHORD)]
    redis.lpush(QUEUE, kept[0], envelope(), kept[1], kept[2], envelope(), kept[3])
    redis.lpush(f"{QUEUE}\x06\x163", urgent[0], envelope(), urgent[1])
    redis.lpush("other", *other)
    carried = Bridge(running, broker, [QUEUE, "other"], until_empty=True).run()
    assert carried.started == {QUEUE: 3}
    assert lists(redis) == {QUEUE: kept[::-1], f"{QUEUE}\x06\x163": urgent[::-1], "other": other}
    reasons = carried.kept
    assert "chord" in reasons[f"shop.add[{id_of(other[0])}] of queue other"]
    assert reasons["a message of 10 bytes of queue carried"] == "it is no message of kombu's"
    assert len(reasons) == 7


def test_kept_messages_go_back_in_standing_use_for_celerys_workers(
    running: Any, broker: BrokerAddress, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_module, "KEPT_FOR", 0.3)
    member = envelope(embed=CHORD)
    redis.lpush(QUEUE, member)
    with standing(running, broker) as bridge:
        wait_until(lambda: bridge.carried.kept)
        assert wait_until(lambda: redis.rpop(QUEUE)) == member  # a Celery worker takes it
        wait_until(lambda: not bridge.carried.kept)


def test_messages_wait_for_a_server_that_is_away_and_go_back_if_it_stays_away(
    broker: BrokerAddress, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [envelope() for _ in range(5)]
    redis.lpush(QUEUE, *messages)
    away = bridge_app.Celery("away", set_as_current=False)
    away.conf.update(broker_url="temporal://127.0.0.1:1", accept_content=["json"])
    away.conf["ptemporal.dispatch_timeout"] = 0.2
    away.task(lambda *args: None, name="shop.add")
    with standing(away, broker) as bridge:
        wait_until(lambda: redis.hlen("unacked") == 5)
    assert lists(redis) == {QUEUE: messages[::-1]}
    assert bridge.carried.started.total() == 0
    away.close()


def test_bridge_goes_on_when_its_carrier_is_killed(running: Any, broker: BrokerAddress, redis: Any) -> None:
    messages = [envelope() for _ in range(90)]
    redis.lpush(QUEUE, envelope(embed=CHORD), *messages)
    with standing(running, broker) as bridge:
        for enough in (5, 40):
            wait_until(lambda enough=enough: bridge.carried.started.total() > enough)
            [carrier] = carriers()
            carrier.kill()
            carrier.wait(30)
            wait_until(carriers)
        wait_until(lambda: not redis.llen(QUEUE) and redis.hlen("unacked") == 1)
    assert redis.llen(QUEUE) == 1
    redis.delete(QUEUE)
    all_ran_once(messages)


@in_move_tests
def test_killed_bridge_loses_nothing_and_doubles_nothing(
    running: Any, broker: BrokerAddress, redis: Any, temporal_address: str
) -> None:
    """Kill the bridge and its carrier while messages are on their way. The next bridge finds them."""
    messages = [envelope() for _ in range(100)]
    redis.lpush(QUEUE, envelope(embed=CHORD), *messages)
    command = [*SCRIPT, "-A", "tests.migrate.bridge_app", "migrate", "bridge", "--from", broker.url, "-Q", QUEUE]
    environ = {**environment(), "CARRIED_TO": temporal_address}
    bridge = subprocess.Popen(command, env=environ, cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_until(lambda: redis.llen(QUEUE) < 90)
    for process in [bridge, *psutil.Process(bridge.pid).children()]:
        process.send_signal(signal.SIGKILL)
    bridge.wait(30)
    assert redis.hlen("unacked") > 0
    redis.delete(*redis.keys("ptemporal-bridge:*"))  # as it is 15 seconds later
    carried = carry(running, broker)
    assert len(carried.kept) == 1
    redis.delete(QUEUE)
    all_ran_once(messages)


@in_move_tests
def test_bridge_goes_on_when_the_temporal_server_is_killed(broker: BrokerAddress, redis: Any, tmp_path: Path) -> None:
    ran: Counter[str] = Counter()
    messages = [envelope() for _ in range(120)]
    redis.lpush(QUEUE, *messages)
    with contextlib.ExitStack() as servers, contextlib.ExitStack() as ends:
        server = EmbeddedServer(headless=True, database=tmp_path / "state")
        servers.enter_context(server)
        port = server.address.rpartition(":")[2]
        app = Celery("restarted", set_as_current=False)
        app.conf.update(task_default_queue=QUEUE, broker_url=f"temporal://{server.address}")
        app.conf["ptemporal.dispatch_timeout"] = 1.0
        app.task(lambda self, *numbers: ran.update([self.request.id]), name="shop.add", bind=True)
        app.finalize()
        ends.callback(app.close)
        ends.enter_context(WorkerThread(app, QUEUE))
        with standing(app, broker) as bridge:
            for enough in (5, 60):
                wait_until(lambda enough=enough: bridge.carried.started.total() > enough)
                for process in psutil.Process().children(recursive=True):
                    if process.name() == "temporal" and port in process.cmdline():
                        process.kill()
                server = EmbeddedServer(headless=True, database=tmp_path / "state", port=int(port))
                wait_until(lambda: not answers_at(f"127.0.0.1:{port}"))
                servers.enter_context(server)
            wait_until(lambda: not redis.llen(QUEUE) and not redis.hlen("unacked"))
        wait_until(lambda: len(ran) == len(messages))
    assert set(ran.values()) == {1}


def answers_at(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


@in_move_tests
def test_message_of_a_killed_bridge_can_be_given_back_by_celery(
    running: Any, broker: BrokerAddress, redis: Any
) -> None:
    """Without another bridge, Celery's workers give it back after the visibility timeout."""
    message = envelope(embed=CHORD)
    redis.lpush(QUEUE, message)
    with standing(running, broker) as bridge:
        wait_until(lambda: bridge.carried.kept)
        [(tag, held)] = redis.hgetall("unacked").items()
    redis.delete(QUEUE)
    redis.hset("unacked", tag, held)
    redis.zadd("unacked_index", {tag: 0})
    restore = (
        "import sys, kombu; channel = kombu.Connection(sys.argv[1]).default_channel; channel.qos.restore_visible()"
    )
    subprocess.run([sys.executable, "-c", restore, broker.url], check=True, timeout=60)
    [again] = redis.lrange(QUEUE, 0, -1)
    assert id_of(again) == id_of(message)


@in_move_tests
def test_bridge_goes_on_when_the_broker_comes_back(running: Any, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    binary = Path(sys.executable).with_name("redis-server")
    options = ["--port", str(port), "--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "always"]

    def start() -> subprocess.Popen[bytes]:
        server = subprocess.Popen([shutil.which("redis-server") or binary, *options], stdout=subprocess.DEVNULL)
        wait_until(lambda: answers(client))
        return server

    client = redis_client.Redis(port=port)
    server = start()
    try:
        messages = [envelope() for _ in range(80)]
        client.lpush(QUEUE, *messages[:60])
        with standing(running, BrokerAddress(f"redis://127.0.0.1:{port}/0")) as bridge:
            wait_until(lambda: bridge.carried.started.total() > 5)
            server.kill()
            server.wait(30)
            server = start()
            client.lpush(QUEUE, *messages[60:])
            wait_until(lambda: not client.llen(QUEUE) and not client.hlen("unacked"))
    finally:
        server.kill()
        server.wait(30)
        client.close()
    all_ran_once(messages)


def answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis_client.ConnectionError:
        return False


def test_keys_of_the_application_have_their_prefix(running: Any, broker: BrokerAddress, redis: Any) -> None:
    redis.lpush(f"shop:{QUEUE}", envelope(), envelope(embed=CHORD))
    prefixed = BrokerAddress(broker.url, {"global_keyprefix": "shop:"})
    carried = carry(running, prefixed)
    assert (carried.started.total(), len(carried.kept)) == (1, 1)
    assert list(lists(redis)) == [f"shop:{QUEUE}"]


def test_wrong_brokers_and_queues_are_told_in_one_line(running: Any, broker: BrokerAddress, redis: Any) -> None:
    redis.sadd("_kombu.binding.items", b"items\x06\x16\x06\x16items")
    with pytest.raises(ImproperlyConfigured, match=r"has no queue nowhere; it has items: see -Q"):
        Bridge(running, broker, ["nowhere"]).run()
    redis.hset("wrong", "a", "b")
    for url, text in {
        "redis://:secret@127.0.0.1:1/0": "refused",
        "redis://nowhere.invalid:6379/0": "nowhere.invalid",
    }.items():
        with pytest.raises(CarrierLost, match=text) as caught:
            Bridge(running, BrokerAddress(url), [QUEUE]).run()
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(OperationalError, match="WRONGTYPE"):
        Bridge(running, broker, ["wrong"], until_empty=True).run()
    for url, text in {
        "sqs://key:secret@": "nobody has tried the bridge with sqs",
        "localhost": "--from takes a URL",
    }.items():
        with pytest.raises(ImproperlyConfigured, match=text) as refused:
            BrokerAddress(url).refuse_untried()
        assert "secret" not in str(refused.value)


def test_command_reports_and_exits(running: Any, broker: BrokerAddress, redis: Any, temporal_address: str) -> None:
    redis.lpush(QUEUE, envelope(), envelope("shop.gone"))
    command = [*SCRIPT, "-A", "tests.migrate.bridge_app", "migrate", "bridge", "--from", broker.url, "--until-empty"]
    environ = {**environment(), "CARRIED_TO": temporal_address}
    done = subprocess.run([*command, "--json"], env=environ, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert told["started"] == {QUEUE: 1}
    assert "knows no task 'shop.gone'" in told["kept"][0]["reason"]
