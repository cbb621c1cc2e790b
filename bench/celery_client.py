"""A process that has Celery's worker run tasks and waits for them: `python -m bench.celery_client`."""

from __future__ import annotations

import time

from bench.celery_application import noop_with_result
from bench.client import answer_lines

LONGEST = 60
"""Seconds to wait for a result."""


def latency(count: int) -> list[float]:
    seconds = []
    for number in range(count):
        began = time.perf_counter()
        noop_with_result.delay(number).get(LONGEST)
        seconds.append(time.perf_counter() - began)
    return seconds


def pipelined(count: int) -> float:
    began = time.perf_counter()
    results = [noop_with_result.delay(number) for number in range(count)]
    for result in results:
        result.get(LONGEST)
    return time.perf_counter() - began


if __name__ == "__main__":
    answer_lines({"latency": latency, "pipelined": pipelined})
