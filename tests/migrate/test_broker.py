"""A live broker: messages of a real Celery producer in a real Redis, counted and left there."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyramid_temporal_compat.exceptions import ImproperlyConfigured, OperationalError
from pyramid_temporal_compat.migrate.broker import look_into
from pyramid_temporal_compat.migrate.broker_amqp import _queue as read_queue
from pyramid_temporal_compat.migrate.broker_messages import described, read_message
from pyramid_temporal_compat.migrate.result_backend import count_results

pytestmark = pytest.mark.integration

PRODUCER = """
import datetime as dt
import sys

from celery import Celery

app = Celery("shop", broker=sys.argv[1])
app.conf.accept_content = ["json", "pickle"]
app.conf.broker_transport_options = {"queue_order_strategy": "priority"}
for number in range(7):
    app.send_task("shop.tasks.pack", (number,), queue="items")
app.send_task("shop.tasks.pack", ("x" * 3_000_000,), queue="items")
app.send_task("shop.tasks.gone", (), queue="items", priority=6)
app.send_task("shop.tasks.pack", ({1, 2},), queue="old", serializer="pickle")
app.send_task("shop.tasks.pack", (), queue="old", eta=dt.datetime(2031, 5, 6, 7, 8, tzinfo=dt.timezone.utc))
app2 = Celery("shop", broker=sys.argv[1])
app2.conf.task_protocol = 1
app2.send_task("shop.tasks.one", (), queue="protocol1")
"""


@pytest.fixture(scope="module")
def url(redis: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    address = f"redis+socket://{redis.socket_file}?virtual_host=0"
    script = tmp_path_factory.mktemp("producer") / "producer.py"
    script.write_text(PRODUCER)
    subprocess.run([sys.executable, script, address], check=True, timeout=60)
    redis.lpush("items", "no message of Celery's")
    return address


def told(url: str, code: str, *, known: tuple[str, ...] = ("shop.tasks.pack", "shop.tasks.one")) -> list[str]:
    return [each.detail for each in look_into(url, (), known) if each.rule.code == code]


def test_queues_are_found_by_their_bindings_and_counted(url: str) -> None:
    lengths = {detail.split()[0]: int(detail.split()[2]) for detail in told(url, "PTC901")}
    assert lengths == {"celery": 0, "items": 10, "old": 2, "protocol1": 1}


def test_command_counts_the_queues_of_a_broker_that_are_named_with_commas(url: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("@app.task\ndef pack(number): ...\n")
    command = [Path(sys.executable).parent / "ptemporal-compat", "migrate", "audit", "--json", "--broker", url]
    done = subprocess.run([*command, "-Q", "one,two"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = [each["message"].split(":")[0] for each in json.loads(done.stdout) if each["code"] in ("PTC901", "PTC907")]
    counted = {detail.split(";")[0] for detail in told}
    assert {"items holds 10 messages", "one holds 0 messages", "two holds 0 messages"} <= counted
    assert "shop.tasks.gone, 1 messages" in told
    assert not any("shop.tasks.pack" in each for each in told)


def test_payloads_types_times_and_priorities_are_told(url: str) -> None:
    [large] = [
        each for each in look_into(url) if each.rule.code == "PTC902" and each.severity.value == "changes behaviour"
    ]
    assert large.detail.startswith("items: ")
    assert int(large.detail.rpartition(", ")[2].split()[0]) > 3_000_000
    [types] = told(url, "PTC903")
    assert types.startswith("old: ")
    assert {"1 of application/x-python-serialize", "1 of application/json"} == set(types[5:].split(", "))
    assert told(url, "PTC904") == ["old: 1 with an ETA, the farthest 2031-05-06 07:08 UTC"]
    assert told(url, "PTC906") == ["items: 1 of 6"]
    assert told(url, "PTC909") == ["items: 1 messages"]


def test_tasks_that_no_module_knows_are_named(url: str) -> None:
    assert told(url, "PTC907") == ["shop.tasks.gone, 1 messages"]
    assert told(url, "PTC907", known=()) == []


def test_what_workers_hold_is_counted(url: str, redis: Any) -> None:
    assert told(url, "PTC905") == []
    envelope = json.loads(redis.lindex("old", 0))
    redis.hset("unacked", "tag", json.dumps([envelope, "", "old"]))
    redis.zadd("unacked_index", {"tag": dt.datetime(2030, 1, 2, 3, 4, tzinfo=dt.timezone.utc).timestamp()})
    try:
        assert told(url, "PTC905") == ["1 messages, the first since 2030-01-02 03:04 UTC"]
    finally:
        redis.delete("unacked", "unacked_index")


def test_reading_moves_no_message(url: str, redis: Any) -> None:
    before = {key: redis.lrange(key, 0, -1) for key in redis.scan_iter("*", _type="list")}
    look_into(url)
    assert {key: redis.lrange(key, 0, -1) for key in redis.scan_iter("*", _type="list")} == before


def test_results_give_a_rate_and_actions(url: str, redis: Any) -> None:
    for hour in range(11):
        done = dt.datetime(2030, 1, 1, hour, tzinfo=dt.timezone.utc).isoformat()
        redis.set(f"celery-task-meta-{hour}", json.dumps({"status": "SUCCESS", "date_done": done}))
    [finding] = count_results(url)
    assert finding.rule.code == "PTC908"
    assert "11 results, from 2030-01-01 00:00 to 2030-01-01 10:00 UTC" in finding.detail
    assert "about 792 tasks and 1,584 actions a month" in finding.detail


def test_results_in_a_database_give_a_rate(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "results.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table celery_taskmeta (date_done datetime)")
        rows = [(f"2030-01-{day:02} 00:00:00.000000",) for day in range(1, 31)]
        connection.executemany("insert into celery_taskmeta values (?)", rows)
    connection.close()
    [finding] = count_results(f"db+sqlite:///{path}")
    assert "30 results" in finding.detail
    assert "62 actions a month" in finding.detail


def test_broker_that_is_away_or_unknown_is_told_without_its_password() -> None:
    with pytest.raises(OperationalError, match=r"redis://:\*\*@127.0.0.1:1//? ?.*can't be read") as away:
        look_into("redis://:secret@127.0.0.1:1/0")
    assert "secret" not in str(away.value)
    with pytest.raises(ImproperlyConfigured, match="redis:// and amqp:// can"):
        look_into("sqs://key:secret@")
    with pytest.raises(OperationalError, match="can't be read"):
        look_into("amqp://guest:guest@127.0.0.1:1//")
    with pytest.raises(OperationalError, match=r"the result backend at redis://127.0.0.1:1/.* can't be read"):
        count_results("redis://127.0.0.1:1/0")
    with pytest.raises(ImproperlyConfigured, match=r"redis:// and db\+…:// can"):
        count_results("rpc://")


def test_missing_client_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, url in (("redis", "redis://localhost"), ("amqp", "amqp://localhost")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImproperlyConfigured, match=rf"--broker {name}://… needs {name}: pip install"):
            look_into(url)


@pytest.mark.parametrize(
    "broken", [None, [], {}, {"body": 1}, {"body": "%", "properties": {"body_encoding": "base64"}}]
)
def test_what_is_no_message_is_not_read(broken: Any) -> None:
    assert read_message(broken) is None


def test_age_is_told_where_messages_have_a_time() -> None:
    sent = dt.datetime(2030, 1, 1, tzinfo=dt.timezone.utc)
    message = described(b"[]", "application/json", {"task": "a"}, {"timestamp": sent})
    assert message is not None
    assert message.sent == sent


class Channel:
    """Stands for a channel of RabbitMQ, which no package of PyPI brings."""

    def __init__(self, messages: list[Any]) -> None:
        self.messages, self.taken, self.closed = messages, 0, False

    def queue_declare(self, name: str, *, passive: bool) -> SimpleNamespace:
        assert passive
        return SimpleNamespace(message_count=len(self.messages))

    def basic_get(self, name: str) -> Any:
        self.taken += 1
        return self.messages[self.taken - 1] if self.taken <= len(self.messages) else None

    def close(self) -> None:
        self.closed = True


def test_messages_of_rabbitmq_are_read_and_given_back_without_an_acknowledgement() -> None:
    properties = {"content_type": "application/json", "application_headers": {"task": "shop.pack"}, "priority": 3}
    channel = Channel([SimpleNamespace(body="[]", properties=properties), SimpleNamespace(body=b"x", properties={})])
    queue = read_queue(SimpleNamespace(channel=lambda: channel), "items", LookupError)
    assert (queue.length, queue.unreadable, channel.closed) == (2, 1, True)
    assert [(each.task, each.size, each.priority) for each in queue.messages] == [("shop.pack", 2, 3)]
