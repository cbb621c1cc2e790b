"""What the tests of the bridge share: messages, running bridges, and what became of the messages."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from pyramid_temporal_compat.migrate.bridge import Bridge, Carried
from pyramid_temporal_compat.migrate.carrier_process import BrokerAddress
from tests.migrate import bridge_app
from tests.outbox.parts import running
from tests.parts import wait_until

QUEUE = "carried"
in_move_tests = pytest.mark.skipif(
    "PTEMPORAL_MOVE" not in os.environ, reason="it takes long, so `make move-tests` runs it"
)
PRODUCER = Path(__file__).with_name("celery_producer.py")


def produce(url: str, count: int) -> list[list[str]]:
    """Let a real Celery send so many tasks, and some of each other kind. Return kind and id of each."""
    command = [sys.executable, str(PRODUCER), url, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [line.split() for line in done.stdout.splitlines()]


def all_ran_once(messages: Sequence[bytes]) -> None:
    """Wait until the tasks of these messages have run. Fail if one ran twice."""
    ids = [id_of(message) for message in messages]
    wait_until(lambda: all(bridge_app.ran[id] for id in ids))
    assert {bridge_app.ran[id] for id in ids} == {1}


def envelope(task: str = "shop.add", args: Any = (1, 2), embed: Any = None, **headers: Any) -> bytes:
    """Return a message as another producer than kombu may write it: with spaces and a key of its own."""
    body = [list(args), {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None, **(embed or {})}]
    task_id = str(uuid.uuid4())
    made = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": task_id, "retries": 0, **headers},
        "properties": {
            "correlation_id": task_id,
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_mode": 2,
            "delivery_tag": task_id,
            "priority": 0,
        },
        "ours": True,
    }
    return json.dumps(made, indent=1).encode()


def id_of(message: bytes) -> str:
    return str(json.loads(message)["headers"]["id"])


CHORD = {"chord": {"task": "shop.total", "args": [], "kwargs": {}, "options": {}}}


def carry(app: Any, broker: BrokerAddress, **options: Any) -> Carried:
    return Bridge(app, broker, [QUEUE], until_empty=True, **options).run()


@contextmanager
def standing(app: Any, broker: BrokerAddress, **options: Any) -> Iterator[Bridge]:
    """Yield a bridge that runs until the end of the block."""
    with running(Bridge(app, broker, [QUEUE], **options), ends_within=60) as found:
        yield found


def lists(redis: Any) -> dict[str, list[bytes]]:
    return {key.decode(): redis.lrange(key, 0, -1) for key in redis.scan_iter("*", _type="list")}


def carriers() -> list[psutil.Process]:
    """Return the carriers that this process has started."""
    return [each for each in psutil.Process().children(recursive=True) if is_carrier(each)]


def is_carrier(process: psutil.Process) -> bool:
    """Return whether the process is a carrier that has not ended."""
    try:
        return "pyramid_temporal_compat.migrate.carrier" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # of PostgreSQL, for example, whose processes come and go
        return False
