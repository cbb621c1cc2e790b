"""The application that the tests of the bridge carry for, with a worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.migrate import bridge_app
from tests.migrate.bridge_parts import QUEUE
from tests.worker.shop import WorkerThread


@pytest.fixture(scope="package")
def running(temporal_address: str) -> Iterator[Any]:
    """Yield the application, with a worker."""
    bridge_app.app.conf.broker_url = f"temporal://{temporal_address}"
    bridge_app.app.finalize()
    with WorkerThread(bridge_app.app, QUEUE):
        yield bridge_app.app
    bridge_app.app.close()
