"""The shop application of the worker's tests, with an ini file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.parts import write_ini
from tests.cli.project_parts import Project
from tests.parts import fresh_database
from tests.worker.shop import Shop


@pytest.fixture(scope="package")
def one_shop(temporal_address: str, postgres: str) -> Iterator[Shop]:
    with fresh_database(postgres) as url:
        shop = Shop(temporal_address, url, **{"ptemporal.heartbeat_timeout": "2"})
        yield shop
        shop.close()


@pytest.fixture
def shop(one_shop: Shop) -> Iterator[Shop]:
    """The shop as the current app, without a worker."""
    one_shop.app.set_current()
    yield one_shop
    one_shop.clear()


@pytest.fixture
def ini(shop: Shop, tmp_path: Path) -> Path:
    settings = {key: value for key, value in shop.settings.items() if not key.startswith(("pyramid.", "tm."))}
    return write_ini(tmp_path / "shop.ini", {**settings, "ptemporal.include": "tests.worker.shop"})


@pytest.fixture
def project(temporal_address: str, tmp_path: Path) -> Iterator[Project]:
    found = Project(temporal_address, tmp_path)
    yield found
    found.app.close()
