"""A process that calls tasks of Celery's worker, and waits for them: `python -m bench.celery_client`."""

from __future__ import annotations

import time

from celery import chain, chord, group
from celery.result import ResultSet

from bench.celery_application import noop_with_result, sleeps, total
from bench.client import answer_lines, asked

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


def many_delays(count: int) -> list[float]:
    returned, done = asked(lambda: ResultSet([noop_with_result.delay(number) for number in range(count)]))
    return [returned, done, returned]  # Celery has sent everything, so a commit takes no time


def a_group(count: int) -> list[float]:
    return asked(lambda: group(noop_with_result.s(number) for number in range(count))())


def short_ones(count: int) -> list[float]:
    return asked(lambda: group(sleeps.s(0.001) for _ in range(count))())


def a_chain(count: int) -> list[float]:
    return asked(lambda: chain(noop_with_result.s(1), *(noop_with_result.s() for _ in range(count - 1)))())


def a_chord(count: int) -> list[float]:
    return asked(lambda: chord([noop_with_result.s(number) for number in range(count)])(total.s()))


if __name__ == "__main__":
    answer_lines(
        {
            "latency": latency,
            "pipelined": pipelined,
            "many_delays": many_delays,
            "a_group": a_group,
            "short_ones": short_ones,
            "a_chain": a_chain,
            "a_chord": a_chord,
        }
    )
