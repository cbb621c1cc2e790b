"""Refuse to start a server, in the process of a unit test and in every Python process that the test starts.

`tests/conftest.py` loads this file in pytest's own process and sets `refusing` for the time of each unit test. It also
puts this directory on `PYTHONPATH`, so that Python imports the file by its name `sitecustomize` at the start of each
child process, where it always refuses. An audit hook sees every start of a program, however it is made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

SERVERS = frozenset(
    {"temporal", "postgres", "initdb", "pg_ctl", "mariadbd", "mariadb-install-db", "redis-server", "rabbitmq-server"}
)
STARTS_A_PROGRAM = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn"})

refusing = __name__ == "sitecustomize"
refused: list[str] = []
"""The servers that this process was asked to start while it refused."""


class ServerInUnitTest(BaseException):
    """A unit test starts a server. No `except Exception` of the tested code hides this."""


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise where the program, or one of its arguments, is a server: our own guard process gets it as an argument."""
    if not refusing or event not in STARTS_A_PROGRAM:
        return
    program, words = arguments[0], arguments[1]
    if not isinstance(words, (list, tuple)):
        words = os.fsdecode(words).split()
    if server := server_among([program, *words]):
        refused.append(server)
        raise ServerInUnitTest(
            f"a unit test starts {server!r}; use a fixture that brings the server (tests/conftest.py names them), "
            "or mark the test with @pytest.mark.integration"
        )


def server_among(words: Iterable[Any]) -> str | None:
    names = (os.path.basename(os.fsdecode(word)) for word in words if isinstance(word, (str, bytes, os.PathLike)))
    return next((name for name in names if name in SERVERS), None)


sys.addaudithook(refuse)
