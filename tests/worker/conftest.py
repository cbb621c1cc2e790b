"""A shop with a worker, shared by the tests of the worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pyramid_temporal_compat.message.slices import Slice
from pyramid_temporal_compat.worker import slice_activity
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


@pytest.fixture
def roomy(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give slices more time than the setting allows, so that short members share one also on a busy machine."""
    read_slice = slice_activity.read_slice

    def read_long_slice(payloads: Any) -> Slice:
        return replace(read_slice(payloads), seconds=20.0)

    monkeypatch.setattr(slice_activity, "read_slice", read_long_slice)
    monkeypatch.setattr(slice_activity, "RECORD_TIMEOUT", timedelta(seconds=20))
    monkeypatch.setitem(shop.app.conf, "ptemporal.slice", 1)
    monkeypatch.setitem(shop.app.conf, "ptemporal.heartbeat_timeout", 60)
