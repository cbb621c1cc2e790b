"""A process that has Celery's worker run tasks: `python -m bench.celery_client`."""

from __future__ import annotations

import time

from bench.celery_application import app, noop
from bench.client import answer_lines


def run(count: int) -> bool:
    """Ask for tasks, and wait until the worker has done them."""
    inspect = app.control.inspect(timeout=1)
    for number in range(count):
        noop.delay(number)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        stats = inspect.stats() or {}
        if sum(worker["total"].get(noop.name, 0) for worker in stats.values()) >= count:
            return True
    raise SystemExit(f"Celery's worker did not run {count} tasks in time: {stats}")


if __name__ == "__main__":
    answer_lines({"run": run})
