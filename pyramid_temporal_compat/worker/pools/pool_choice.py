"""Which pool a worker has, by its name, and how large."""

from __future__ import annotations

import os
from pathlib import Path

from ...exceptions import ImproperlyConfigured
from .pool import Pool
from .prefork import PreforkPool
from .solo import SoloPool
from .threads import ThreadPool

POOLS: dict[str, type[Pool]] = {"prefork": PreforkPool, "threads": ThreadPool, "solo": SoloPool}

ALIASES = {
    "processes": "prefork",
    "celery.concurrency.prefork:TaskPool": "prefork",
    "celery.concurrency.thread:TaskPool": "threads",
    "celery.concurrency.solo:TaskPool": "solo",
}

GREEN = (
    "it replaces the sockets and threads of a process, and the Temporal client is native code that it can't reach; "
    "use -P threads with a larger -c, or write the tasks as `async def`"
)
REFUSED = {
    "gevent": GREEN,
    "eventlet": GREEN,
    "custom": "the pools are prefork, threads and solo, by these names: there is no class to replace",
}

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def pool_name(given: object) -> str:
    """The name of the pool that an option, `worker_pool` or a pool's class means."""
    for name, cls in POOLS.items():
        if given is cls:
            return name
    name = ALIASES.get(str(given), str(given))
    if name in POOLS:
        return name
    for refused, reason in REFUSED.items():
        if refused in name:
            raise ImproperlyConfigured(f"pool {name!r} is refused: {reason}")
    raise ImproperlyConfigured(f"there is no pool {name!r}; there are {', '.join(POOLS)}")


def pool_size(given: int | str | None, pool: str) -> int:
    """How many tasks at a time: a number, `auto`, or, without a value, one for each processor."""
    if isinstance(given, int) and given > 0:
        return given
    processors = _processors()
    if given == "auto" and pool == "prefork" and (quota := _quota()):
        return max(1, min(processors, int(quota)))
    return processors


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota() -> float | None:
    """How many processors the container may use."""
    try:
        limit, period = CGROUP_QUOTA.read_text().split()
        return float(limit) / float(period)
    except (OSError, ValueError):  # no container, or one without a limit: it says "max"
        return None
