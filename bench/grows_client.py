"""The client of `bench.grows`: `python -m bench.grows_client ADDRESS [BUNDLE]`."""

from __future__ import annotations

import functools
import sys
from typing import Any

import transaction

from bench.application import noop
from bench.client import answer_lines
from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.results import ResultSet

QUEUE = "bench"
LONGEST = 300
"""Seconds to wait for results."""
called: list[str] = []
"""The ids of the tasks that the last command has called."""


def call(count: int, **options: Any) -> None:
    with transaction.manager:
        called[:] = [noop.apply_async((number,), **options).id for number in range(count)]


def call_later(count: int) -> None:
    call(count, countdown=3600)


def wait(_: int) -> None:
    ResultSet([noop.AsyncResult(id) for id in called]).get(timeout=LONGEST)


def call_and_wait(count: int) -> None:
    call(count)
    wait(0)


def transactions(size: int, count: int) -> None:
    """Call the tasks of many small transactions, and then wait for all of them."""
    ids: list[str] = []
    for _ in range(count):
        call(size)
        ids += called
    called[:] = ids
    wait(0)


def read(_: int) -> int:
    return sum(noop.AsyncResult(id).get(timeout=LONGEST) for id in called)


def main(address: str, least: str | None = None) -> None:
    app = Celery("bench", ptemporal_address=address, task_default_queue=QUEUE, ptemporal_dispatch_timeout=LONGEST)
    if least is not None:
        app.conf["ptemporal.bundle"] = int(least)

    def scheduled(_: int) -> int:
        return sum(len(found) for found in (app.control.inspect(timeout=20).scheduled() or {}).values())

    def waiting(_: int) -> int:
        return int(app.connection().default_channel.queue_declare(QUEUE).message_count)

    answer_lines(
        {
            "call": call,
            "call_later": call_later,
            "wait": wait,
            "call_and_wait": call_and_wait,
            "read": read,
            "purge": lambda _: app.control.purge(),
            "scheduled": scheduled,
            "waiting": waiting,
            **{f"transactions_of_{size}": functools.partial(transactions, size) for size in (2, 4, 7)},
        }
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
