"""A Redis, a worker of real Celery on it, and an application of this package that publishes to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.parts import redis_server, wait_until

QUEUES = ("switched", "switched2")


class CelerySide(NamedTuple):
    """What real Celery runs on."""

    redis: Any
    broker: str
    backend: str
    queue: str

    def effects(self) -> list[str]:
        """Return what the tasks have done."""
        return [each.decode() for each in self.redis.lrange("effects", 0, -1)]


@pytest.fixture(scope="session")
def celery_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def celery_side(celery_redis: Any) -> Iterator[CelerySide]:
    """Yield a broker and a result backend with a worker of real Celery."""
    url = f"redis+socket://{celery_redis.socket_file}?virtual_host="
    side = CelerySide(celery_redis, url + "0", url + "1", QUEUES[0])
    environment = {
        **os.environ,
        "SHOP_BROKER": side.broker,
        "SHOP_BACKEND": side.backend,
        "SHOP_EFFECTS": celery_redis.socket_file,
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.switch.celery_shop", "worker", "-P", "threads", "-c", "4"]
    options = ["-l", "WARNING", "--without-gossip", "--without-mingle", "-Q", ",".join(QUEUES)]
    worker = subprocess.Popen([*command, *options], cwd=Path(__file__).parents[2], env=environment)
    yield side
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: worker.poll() is not None, message="the Celery worker's end")
