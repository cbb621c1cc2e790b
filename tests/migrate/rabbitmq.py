"""A RabbitMQ of Debian's package, in a folder of its own. No package of PyPI brings one."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.parts import wait_until

SCRIPTS = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))
"""Where Debian has the scripts that run as any user. Those in /usr/sbin run as the user `rabbitmq`."""
MISSING = "RabbitMQ is not installed: apt-get install rabbitmq-server"


def is_installed() -> bool:
    return bool(SCRIPTS) and shutil.which("erl") is not None


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class RabbitMQ:
    """A server on a free port, which can be killed and started again with its messages."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._epmd_port = free_port()
        self._environ = {
            **os.environ,
            "HOME": str(directory),  # the cookie
            "RABBITMQ_NODENAME": f"bridge-{uuid.uuid4().hex[:8]}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(directory / "none"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        with (self._directory / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [SCRIPTS[-1] / "rabbitmq-server"],
                env=self._environ,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        wait_until(self._answers, timeout=120, message="RabbitMQ does not answer")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "out").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"AMQP\0\0\x09\1")
                connection.settimeout(5)
                return bool(connection.recv(1))
        except OSError:
            return False

    def kill(self) -> None:
        """Kill the server, as a machine that loses its power does."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)

    def stop(self) -> None:
        """Kill the server, and the name server of Erlang that it has started."""
        self.kill()
        for process in psutil.process_iter(["name", "environ"]):
            if process.info["name"] == "epmd" and (process.info["environ"] or {}).get("HOME") == str(self._directory):
                process.kill()


@contextlib.contextmanager
def running_rabbitmq(directory: Path) -> Iterator[RabbitMQ]:
    server = RabbitMQ(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
