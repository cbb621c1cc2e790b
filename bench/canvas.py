"""Many tasks at once, beside Celery with Redis: time until the call returns, and until all tasks are done.

Celery uses Redis as broker and result backend.

Both workers are `prefork` with four processes.
"""

from __future__ import annotations

import contextlib
import statistics

from . import parts
from .table import Figure

NAME = "canvas"
TITLE = "Many tasks at once, and canvases"
PEER = "Celery, Redis"
POOL, CONCURRENCY = "prefork", 4
MEASURED = ("until the call returns", "until all is done", "the commit alone, and Celery's publishes")
AIMS = {
    ("many_delays", 1): 0.6,
    ("many_delays", 2): 0.1,
    ("a_group", 1): 0.5,
    ("a_chain", 1): 2.5,
    ("a_chord", 1): 1.0,
    ("short_ones", 1): 0.5,
}
"""Aims, by case and measure."""

CASES = (
    ("many_delays", 1000, ".delay() 1,000 times in a request"),
    ("a_group", 1000, "a group of 1,000"),
    ("a_chain", 20, "a chain of 20"),
    ("a_chord", 100, "a chord of 100"),
    ("short_ones", 10_000, "a group of 10,000 of 1 ms each"),
)
LARGE = 5000
"""Tasks from which on a case has one round."""


def run(quick: bool) -> list[Figure]:
    rounds = 1 if quick else 3
    figures: list[Figure] = []
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(parts.redis())
        address = stack.enter_context(parts.temporal())
        stack.enter_context(parts.our_worker(address, POOL, CONCURRENCY))
        stack.enter_context(parts.celery_worker(broker, POOL, CONCURRENCY))
        ours = stack.enter_context(parts.python("-m", "bench.client", address))
        theirs = stack.enter_context(parts.python("-m", "bench.celery_client", BENCH_BROKER=broker))
        for client in (ours, theirs):
            client.ask("pipelined", 20)
        for name, full, what in CASES:
            count = full // 5 if quick and full > 100 else full
            times = 1 if full >= LARGE else rounds
            taken = {client: [client.ask(name, count) for _ in range(times)] for client in (ours, theirs)}
            told = what if count == full else f"{what}, here {count}"
            measured = min(len(each) for client in taken.values() for each in client)
            for position, until in enumerate(MEASURED[:measured]):
                first, second = (
                    statistics.median(each[position] for each in taken[client]) for client in (ours, theirs)
                )
                aim = AIMS.get((name, position))
                figures.append(Figure(NAME, f"{told}: {until}", first * 1e3, second * 1e3, "ms", PEER, at_most=aim))
    return figures
