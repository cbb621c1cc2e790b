"""A process that asks for tasks and waits for them: `python -m bench.client ADDRESS`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any


def answer_lines(commands: Mapping[str, Callable[[int], Any]]) -> None:
    """Answer each line `[command, count]` on stdin with a line of JSON."""
    for line in sys.stdin:
        name, count = json.loads(line)
        print(json.dumps(commands[name](count)), flush=True)


def latency(count: int) -> list[float]:
    from bench.application import noop

    seconds = []
    for number in range(count):
        began = time.perf_counter()
        noop.delay(number).get()
        seconds.append(time.perf_counter() - began)
    return seconds


def pipelined(count: int) -> float:
    """One transaction asks for all of them; its commit starts them."""
    import transaction

    from bench.application import noop

    began = time.perf_counter()
    with transaction.manager:
        results = [noop.delay(number) for number in range(count)]
    for result in results:
        result.get()
    return time.perf_counter() - began


def main(address: str) -> None:
    from pyramid_temporal_compat import Celery

    Celery("bench", ptemporal_address=address, task_default_queue="bench", ptemporal_dispatch_timeout=60)
    answer_lines({"latency": latency, "pipelined": pipelined})


if __name__ == "__main__":
    main(sys.argv[1])
