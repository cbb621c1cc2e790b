"""The application on a server of its own, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pyramid.paster import get_app
from webtest import TestApp

HERE = Path(__file__).parent.parent
VARIABLES = {**os.environ, "PYTHONPATH": str(HERE)}
COMMAND = Path(sys.executable).with_name("ptemporal-compat")


@pytest.fixture(scope="session")
def ini(ptemporal_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """development.ini, with the addresses of this test run."""
    folder = tmp_path_factory.mktemp("hotel")
    path = folder / "test.ini"
    path.write_text(
        f"[app:main]\n"
        f"use = config:{HERE}/development.ini\n"
        f"sqlalchemy.url = sqlite:///{folder}/hotel.db\n"
        f"ptemporal.address = {ptemporal_server.address}\n"
    )
    return path


@pytest.fixture(scope="session")
def app(ini: Path) -> Iterator[Any]:
    app = get_app(str(ini))
    yield app
    app.registry["engine"].dispose()


@pytest.fixture
def web(app: Any) -> TestApp:
    return TestApp(app)


@pytest.fixture
def command(ini: Path) -> Callable[..., str]:
    """Runs `ptemporal-compat workflow ACTION INI …` and returns its output."""

    def run(action: str, *words: str) -> str:
        ended = subprocess.run(
            [COMMAND, "workflow", action, ini, *words],
            env=VARIABLES,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    return run


@pytest.fixture(scope="session")
def workers(app: Any, ini: Path) -> Iterator[None]:
    """A worker for each domain."""
    with ExitStack() as stack:
        for domain in ("payments", "bookings"):
            process = stack.enter_context(
                subprocess.Popen(
                    [COMMAND, "worker", ini, "--domains", domain, "-P", "threads"],
                    env=VARIABLES,
                )
            )
            stack.callback(process.terminate)
        yield
