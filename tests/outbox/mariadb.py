"""A MariaDB for the tests: the server that is named, or a server that is started if the machine has MariaDB."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from tests.parts import wait_until

GIVEN = "PTEMPORAL_TEST_MYSQL"
"""The variable with the SQLAlchemy URL of a MySQL or MariaDB server. Its user may create databases."""
WHERE = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/libexec"))
INSTALL, SERVE = "mariadb-install-db", "mariadbd"
MISSING = f"no {SERVE} and pymysql on this machine, and {GIVEN} does not name a server"


def is_there() -> bool:
    if os.environ.get(GIVEN):
        return True
    return all(shutil.which(name, path=WHERE) for name in (INSTALL, SERVE)) and find_spec("pymysql") is not None


@contextlib.contextmanager
def served(*options: str) -> Iterator[str]:
    """The URL of a server that lives in a temporary directory."""
    directory = Path(tempfile.mkdtemp(prefix="my"))  # pytest's directory has too long a path for a socket
    common = ["--no-defaults", f"--user={getpass.getuser()}", f"--datadir={directory / 'data'}"]
    try:
        with (directory / "log").open("w") as log:
            install = [_path(INSTALL), *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
            subprocess.run(install, stdout=log, stderr=log, check=True)
            # All else keeps the server's defaults, because the tests are about latin1 and REPEATABLE READ.
            serve = [_path(SERVE), *common, f"--socket={directory / 's'}", "--skip-networking"]
            process = subprocess.Popen(
                [*serve, "--innodb-flush-log-at-trx-commit=0", f"--pid-file={directory / 'pid'}", *options],
                stdout=log,
                stderr=log,
            )
        url = f"mysql+pymysql://root@localhost/mysql?unix_socket={directory / 's'}"
        log_of = (directory / "log").read_text
        try:
            # Don't poll by connecting: after a failed connection the driver leaves its socket open.
            wait_until(lambda: process.poll() is not None or "ready for connections" in log_of(), 30)
            assert process.poll() is None, log_of()
            yield url
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def fresh_mysql_database(server_url: str) -> Iterator[str]:
    """Make an empty database, yield its URL, and drop it afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _execute(server_url, f"CREATE DATABASE {name}")
    try:
        url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
        yield url.replace("%2F", "/")  # an ini file would read the % as an interpolation
    finally:
        _execute(server_url, f"DROP DATABASE {name}")


def _path(program: str) -> str:
    found = shutil.which(program, path=WHERE)
    assert found is not None
    return found


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(statement))
