"""A producer that never moves: sends tasks with a real Celery, and prints their ids."""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery, chain, group


def main(broker: str, count: int) -> None:
    app = Celery("shop", broker=broker, backend="cache+memory://")
    app.conf.task_default_queue = "carried"
    add, note, total = (app.task(anything, name=f"shop.{name}") for name in ("add", "note", "total"))
    for number in range(count):
        print("single", add.apply_async((number, 1), priority=number % 3 * 3, headers={"tenant": "x"}).id)
    print("retried", add.apply_async((1, 1), retries=2, countdown=0.5).id)
    print("expired", add.apply_async((1, 1), expires=-5).id)
    print("linked", add.apply_async((1, 2), link=note.s()).id)
    print("chain", chain(add.s(1, 2), group(add.s(10), add.s(20)), total.s()).apply_async().id)


def anything(*args: Any, **kwargs: Any) -> None:
    """Never run: Celery only sends here."""


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
