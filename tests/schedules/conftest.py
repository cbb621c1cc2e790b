"""An app with a name of its own, so that its schedules are too, and a worker for it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from pyramid_temporal_compat import Celery
from tests.schedules.parts import synchronise
from tests.worker.shop import WorkerThread


@pytest.fixture
def app(temporal_address: str) -> Iterator[Celery]:
    """Yield an app without periodic tasks. What it has put on the server is deleted afterwards."""
    name = f"beat-{uuid.uuid4().hex[:8]}"
    found = Celery(name, **{"ptemporal.address": temporal_address})
    found.conf.task_default_queue = name

    @found.task(name="add", bind=True)
    def add(self: Any, x: int, y: int) -> Any:
        return x + y

    @found.task(name="tell", bind=True)
    def tell(self: Any) -> Any:
        request = self.request
        return {
            "id": request.id,
            "entry": request.periodic_task_name,
            "property": request.properties["periodic_task_name"],
            "headers": request.headers,
            "expires": request.expires,
            "priority": request.delivery_info["priority"],
        }

    @found.task(name="fails_once", bind=True, max_retries=1, default_retry_delay=0)
    def fails_once(self: Any) -> Any:
        if self.request.retries == 0:
            raise self.retry(args=())
        return self.request.periodic_task_name

    yield found
    found.conf["beat_schedule"].clear()
    synchronise(found)
    found.close()


@pytest.fixture
def worker(app: Celery) -> Iterator[WorkerThread]:
    with WorkerThread(app, str(app.main)) as running:
        yield running
