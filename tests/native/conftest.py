"""One application with a database, for all tests of `native/`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts import fresh_database
from tests.worker.shop import Shop


@pytest.fixture(scope="package")
def open_shop(temporal_address: str, postgres: str) -> Iterator[Shop]:
    with fresh_database(postgres) as url:
        shop = Shop(temporal_address, url)
        yield shop
        shop.close()


@pytest.fixture
def shop(open_shop: Shop) -> Iterator[Shop]:
    """The shop with empty tables. Its app is the current app."""
    open_shop.app.set_current()
    yield open_shop
    open_shop.clear()
