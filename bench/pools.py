"""Each pool beside the same pool of Celery on Redis: start-up time, time per task, tasks per second, and memory.

Both sides keep results, because both clients wait for them. Memory is the sum over the worker's processes after the
tasks have run. Shared memory counts once (PSS).

A worker that is written by hand with temporalio shows what the client library alone takes: no worker on Temporal starts
faster or has less.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from . import parts
from .table import Figure

NAME = "pools"
TITLE = "The pools, next to Celery's"
PEER = "Celery, the same pool, Redis"
BY_HAND = "temporalio by hand"
STARTS = 3

Worker = Callable[[str, str, int], AbstractContextManager[parts.Process]]
"""Starts a side's worker, from the server's address, the pool and the concurrency."""


def run(quick: bool) -> list[Figure]:
    pools = (("prefork", 4), ("threads", 4), ("solo", 1), ("prefork", 8), ("threads", 8))
    figures: list[Figure] = []
    with parts.redis() as broker, parts.temporal() as address, contextlib.ExitStack() as stack:
        our_client = stack.enter_context(parts.python("-m", "bench.client", address))
        native_client = stack.enter_context(parts.python("-m", "bench.native", "client", address))
        their_client = stack.enter_context(parts.python("-m", "bench.celery_client", BENCH_BROKER=broker))
        for client in (our_client, native_client, their_client):
            client.ask("pipelined", 0)  # it answers once it has started, and then takes no CPU from a worker
        for pool, concurrency in pools[: 3 if quick else None]:
            ours = measure(parts.our_worker, (address, pool, concurrency), our_client, quick)
            theirs = measure(parts.celery_worker, (broker, pool, concurrency), their_client, quick)
            figures += compare(f"{pool} {concurrency}", ours, theirs)
            if pool == "threads":
                figures += compare_by_hand(f"{pool} {concurrency}", ours, by_hand(address, native_client))
    return figures


class Measured:
    """Measure one side for one pool."""

    def __init__(self, ready: float, latency: float, rate: float, memory: float) -> None:
        self.ready, self.latency, self.rate, self.memory = ready, latency, rate, memory


def measure(worker: Worker, how: tuple[str, str, int], client: parts.Process, quick: bool) -> Measured:
    singly, together = (10, 40) if quick else (30, 150)
    ready = seconds_to_ready(lambda: worker(*how))
    with worker(*how) as process:
        client.ask("latency", 5)
        client.ask("pipelined", 20)  # by now every process of the pool has run a task
        latency = statistics.median(client.ask("latency", singly))
        rate = together / client.ask("pipelined", together)
        return Measured(ready * 1e3, latency * 1e3, rate, process.memory())


def seconds_to_ready(start: Callable[[], AbstractContextManager[parts.Process]]) -> float:
    """Return the median of several starts: other processes of the machine disturb a single one."""
    seconds = []
    for _ in range(STARTS):
        began = time.monotonic()
        with start():
            seconds.append(time.monotonic() - began)
    return statistics.median(seconds)


def by_hand(address: str, client: parts.Process) -> tuple[float, float]:
    """Return the milliseconds to ready and the megabytes of a worker that is written by hand with temporalio."""
    ready = seconds_to_ready(lambda: parts.hand_written_worker(address))
    with parts.hand_written_worker(address) as process:
        client.ask("pipelined", 40)
        return ready * 1e3, process.memory()


def compare(pool: str, ours: Measured, theirs: Measured) -> list[Figure]:
    return [
        Figure(NAME, f"{pool}: from start to ready", ours.ready, theirs.ready, "ms", PEER),
        Figure(NAME, f"{pool}: one task, median", ours.latency, theirs.latency, "ms", PEER),
        Figure(NAME, f"{pool}: many tasks", ours.rate, theirs.rate, "/s", PEER),
        Figure(NAME, f"{pool}: memory", ours.memory, theirs.memory, "MB", PEER),
    ]


def compare_by_hand(pool: str, ours: Measured, theirs: tuple[float, float]) -> list[Figure]:
    ready, memory = theirs
    return [
        Figure(NAME, f"{pool}: from start to ready", ours.ready, ready, "ms", BY_HAND),
        Figure(NAME, f"{pool}: memory", ours.memory, memory, "MB", BY_HAND),
    ]
