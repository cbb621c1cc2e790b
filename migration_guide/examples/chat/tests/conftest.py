"""The application on a server of its own, and its worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyramid.paster import get_app
from pyramid.registry import Registry
from webtest import TestApp

HERE = Path(__file__).parent.parent
VARIABLES = {**os.environ, "PYTHONPATH": str(HERE)}


@pytest.fixture(scope="session")
def ini(ptemporal_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """development.ini, with the addresses of this test run."""
    folder = tmp_path_factory.mktemp("chat")
    path = folder / "test.ini"
    path.write_text(
        f"[app:main]\n"
        f"use = config:{HERE}/development.ini\n"
        f"sqlalchemy.url = sqlite:///{folder}/chat.db\n"
        f"ptemporal.address = {ptemporal_server.address}\n"
    )
    return path


@pytest.fixture(scope="session")
def app(ini: Path) -> Iterator[Any]:
    app = get_app(str(ini))
    yield app
    app.registry["engine"].dispose()


@pytest.fixture(scope="session")
def ptemporal_registry(app: Any) -> Registry:
    return app.registry


@pytest.fixture
def web(app: Any) -> TestApp:
    return TestApp(app)


@pytest.fixture(scope="session")
def worker_process(ini: Path, app: Any) -> Iterator[None]:
    command = [Path(sys.executable).with_name("ptemporal-compat"), "worker", ini, "-P", "threads"]
    with subprocess.Popen(command, env=VARIABLES) as process:
        yield
        process.terminate()


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Calls a function until it returns something true."""

    def wait(function: Callable[[], Any], seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := function()):
            assert time.monotonic() < deadline, f"{function} returned {value!r} for {seconds} seconds"
            time.sleep(0.05)
        return value

    return wait
