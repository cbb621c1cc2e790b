"""A worker's memory at concurrency 8, after it has run some tasks, next to Celery's worker.

Summed over the worker's processes, memory that they share counted once (PSS).
"""

from __future__ import annotations

from pyramid_temporal_compat.worker.worker import POOLS

from . import parts
from .table import Figure

NAME = "memory"
TITLE = f"A worker's memory, concurrency {parts.CONCURRENCY}"

TASKS = 100


def run(quick: bool) -> list[Figure]:
    pools = [pool for pool in ("prefork", "threads") if pool in POOLS]
    with parts.redis() as broker:
        theirs = {pool: celery(broker, pool) for pool in ("prefork", "threads")}
    with parts.temporal() as address:
        ours = {pool: our(address, pool) for pool in pools}
    return [
        Figure(NAME, f"pool {pool}", ours[pool], theirs[other], "MB", f"Celery, {other}")
        for pool in pools
        for other in ("prefork", "threads")
        if pool == other or "prefork" not in pools
    ]


def celery(broker: str, pool: str) -> float:
    with parts.celery_worker(broker, pool) as worker:
        with parts.python("-m", "bench.celery_client", BENCH_BROKER=broker) as client:
            client.ask("run", TASKS)
        return worker.memory()


def our(address: str, pool: str) -> float:
    with parts.our_worker(address, pool) as worker:
        with parts.python("-m", "bench.client", address) as client:
            client.ask("pipelined", TASKS)
        return worker.memory()
