"""A shop with a worker, shared by the tests of the worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts import fresh_database
from tests.worker.shop import Shop, WorkerThread


@pytest.fixture(scope="package")
def running_shop(temporal_address: str, postgres: str) -> Iterator[Shop]:
    with fresh_database(postgres) as url:
        shop = Shop(temporal_address, url, **{"ptemporal.heartbeat_timeout": "2"})
        with WorkerThread(shop.app, shop.queue, concurrency=24):
            yield shop
        shop.close()


@pytest.fixture
def shop(running_shop: Shop) -> Iterator[Shop]:
    """Yield the shop with empty tables and a running worker. Its app is the current app."""
    running_shop.app.set_current()
    yield running_shop
    running_shop.clear()
