"""Helpers for tests of the client: an app for an address, a look at the server's tasks, servers that misbehave."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.task.call_options import make_message

TIMEOUT = 1.0
"""Seconds. `ptemporal.dispatch_timeout` of tests in which it runs out."""


@contextlib.contextmanager
def client_app(address: str, **settings: Any) -> Iterator[Celery]:
    """Yield an app with one task, `buy`. Its queue is used by no other app and has no worker."""
    app = Celery("shop", set_as_current=False)
    app.conf.update(
        {
            "ptemporal.address": address,
            "task_default_queue": f"client-{uuid.uuid4().hex}",
            "ptemporal.bundle": 0,  # these tests look at single starts
            **{f"ptemporal.{name}": value for name, value in settings.items()},
        }
    )
    app.task(lambda number: number, name="buy")
    with app:
        yield app


def messages(app: Celery, count: int) -> list[Message]:
    """Return messages of `buy` that are not sent yet."""
    return [make_message(app, "buy", (number,), {}, {}, app.tasks["buy"]) for number in range(count)]


def started(app: Celery, ids: Sequence[str]) -> set[str]:
    """Return the ids for which the server has a workflow of `buy`."""
    return {task_id for task_id in ids if app.AsyncResult(task_id).name == "buy"}


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Yield the address of a server that accepts connections and never sends a byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Yield an address that drops packets: a listener with a full backlog looks so from outside."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def closed_port() -> int:
    """Return a port on which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
