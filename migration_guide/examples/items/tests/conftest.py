"""The gallery on a database of its own, with the Temporal server of the pytest plugin."""

import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from items.activities import ACTIVITIES
from items.images import PNG
from items.models import Image, Item
from items.service import ItemService, item_service
from items.workflows import ProcessItem, ProcessItems
from pyramid.paster import get_app
from webtest import TestApp

from pyramid_temporal_compat import ActivityContext

T = TypeVar("T")
HOME = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def environment(ptemporal_server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that tell the web, the worker and `start.sh` what to use."""
    database = tmp_path_factory.mktemp("database") / "items.db"
    return {"DATABASE_URL": f"sqlite:///{database}?timeout=30", "TEMPORAL_ADDRESS": ptemporal_server.address}


@pytest.fixture(scope="session")
def app(environment: dict[str, str]) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        app = get_app(str(HOME / "development.ini"))
        yield app
    app.registry["engine"].dispose()


@pytest.fixture(scope="session")
def ptemporal_registry(app: Any) -> Any:
    return app.registry


@pytest.fixture
def web(app: Any) -> TestApp:
    return TestApp(app)


@pytest.fixture
def service(app: Any) -> ItemService:
    return item_service(app.registry)


@pytest.fixture
def worker(ptemporal_worker: Any) -> Any:
    """A worker on the queue of the ini, with the application's tasks."""
    return ptemporal_worker(
        task_queue="items", tasks=True, activities=ACTIVITIES, workflows=[ProcessItem, ProcessItems]
    )


@pytest.fixture(scope="session")
def png() -> bytes:
    return PNG + struct.pack(">I4sII", 13, b"IHDR", 320, 200)


@pytest.fixture
def add_item(ptemporal_context: ActivityContext) -> Callable[..., Item]:
    """Adds an item with an image for each `name=data`, in the transaction of `ptemporal_context`."""

    def add(**images: bytes) -> Item:
        item = Item(owner="ann@example.org")
        item.images = [Image(name=f"{name}.png", data=data) for name, data in images.items()]
        ptemporal_context.request.dbsession.add(item)
        ptemporal_context.request.dbsession.flush()
        return item

    return add


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Asks until the answer is the expected one."""

    def ask(question: Callable[[], T], expected: T, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while (answer := question()) != expected:
            assert time.monotonic() < deadline, f"{answer!r} is not {expected!r}"
            time.sleep(0.05)

    return ask


@pytest.fixture
def variables(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a child process."""
    return {**os.environ, **environment}
