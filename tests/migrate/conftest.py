"""What the tests of a live broker run on: a Redis, and the application that the bridge carries for, with a worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.migrate import bridge_app
from tests.migrate.bridge_parts import QUEUE
from tests.parts import redis_server
from tests.worker.shop import WorkerThread


@pytest.fixture(scope="package")
def running(temporal_address: str) -> Iterator[Any]:
    """Yield the application, with a worker."""
    bridge_app.app.conf.broker_url = f"temporal://{temporal_address}"
    bridge_app.app.finalize()
    with WorkerThread(bridge_app.app, QUEUE):
        yield bridge_app.app
    bridge_app.app.close()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield a client of a Redis that one file of tests has for itself."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server
