"""What is left in a broker: queues, and what a real Celery worker holds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyramid_temporal_compat.cli.migrate_drain import as_lines, in_one_line
from pyramid_temporal_compat.migrate import drain as drain_module
from pyramid_temporal_compat.migrate.carrier_process import BrokerAddress
from pyramid_temporal_compat.migrate.drain import Drain
from tests.cli.parts import SCRIPT, environment
from tests.migrate.bridge_parts import QUEUE, envelope, in_move_tests
from tests.parts import ROOT, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def url(redis: Any) -> str:
    redis.flushall()
    return f"redis+socket://{redis.socket_file}?virtual_host=0"


@in_move_tests
def test_worker_that_holds_an_eta_is_named_until_a_warm_stop_frees_it(
    redis: Any, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "ASK", 0)
    redis.lpush(QUEUE, envelope(eta="2031-05-06T07:08:00+00:00"))
    (tmp_path / "old.py").write_text(
        "import os, celery\n"
        "app = celery.Celery('old', broker=os.environ['BROKER'])\n"
        "@app.task(name='shop.add')\n"
        "def add(a, b): ...\n"
    )
    command = [sys.executable, "-m", "celery", "-A", "old", "worker", "-P", "solo", "-Q", QUEUE, "-n", "w1@here"]
    environ = {**environment(), "BROKER": url, "PYTHONPATH": str(tmp_path)}
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=log, stderr=log)
    drain = None
    try:
        wait_until(lambda: redis.hlen("unacked"))
        drain = Drain(BrokerAddress(url), [])
        left = wait_until(lambda: (found := drain.look()).workers and found)
        assert (left.held, left.total, left.farthest) == (1, 1, "2031-05-06T07:08:00+00:00")
        assert in_one_line(left) == "1 left: held by workers 1 until 2031-05-06T07:08:00+00:00"
        assert "  w1@here: 1, until 2031-05-06T07:08:00+00:00" in list(as_lines(left))
        assert "To free them, stop the workers with SIGTERM" in "\n".join(as_lines(left))
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
        left = drain.look()
        assert (left.waiting, left.held) == ({QUEUE: 1}, 0)
    finally:
        worker.kill()
        worker.wait()
        if drain is not None:
            drain.close()


def test_what_is_held_of_other_queues_does_not_count(redis: Any, url: str) -> None:
    message = json.loads(envelope())
    redis.hset("unacked", "a", json.dumps([message, "", "items"]))
    redis.sadd("_kombu.binding.items", b"items\x06\x16\x06\x16items")
    redis.sadd("_kombu.binding.mail", b"mail\x06\x16\x06\x16mail")
    for queues, held in (([], 1), (["mail"], 0)):
        drain = Drain(BrokerAddress(url), queues)
        try:
            assert drain.look().held == held, queues
        finally:
            drain.close()


def test_command_waits_until_nothing_is_left(redis: Any, url: str) -> None:
    redis.sadd(f"_kombu.binding.{QUEUE}", f"{QUEUE}\x06\x16\x06\x16{QUEUE}")
    redis.lpush(QUEUE, envelope())
    command = [*SCRIPT, "migrate", "drain", "--from", url, "--watch", "--json"]
    watching = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["waiting"] == {QUEUE: 1}
    redis.delete(QUEUE)
    rest, _ = watching.communicate(timeout=60)
    assert json.loads(rest.splitlines()[-1])["left"] == 0
    assert watching.returncode == 0
