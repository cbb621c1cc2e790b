"""The table of pools: every pool that `-P` and `worker_pool` can name, how it is made, and how large it is.

To add a pool, write its class (see `pool.Pool`) and add one entry to `POOLS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...exceptions import ImproperlyConfigured
from .child_setup import ProcessHooks
from .pool import Handler, Pool
from .solo import SoloPool
from .threads import ThreadPool

if TYPE_CHECKING:
    from .prefork import PreforkPool


@dataclass(frozen=True)
class PoolOptions:
    """What a worker tells the pool that it makes. A pool takes what concerns it."""

    handler: Handler
    size: int
    hooks: ProcessHooks
    on_broken: Callable[[], None]
    """Called when the pool can run no job ever again."""
    max_tasks_per_child: int | None
    max_memory_per_child: int | None
    proc_alive_timeout: float


def prefork_class() -> type[PreforkPool]:
    from .prefork import PreforkPool  # 2 ms and 0.3 MB, which a worker with another pool saves

    return PreforkPool


def make_prefork(options: PoolOptions) -> Pool:
    return prefork_class()(
        options.handler,
        options.size,
        max_tasks_per_child=options.max_tasks_per_child,
        max_memory_per_child=options.max_memory_per_child,
        proc_alive_timeout=options.proc_alive_timeout,
        before_fork=options.hooks.before_fork,
        on_child_start=options.hooks.on_child_start,
        on_child_exit=options.hooks.on_child_exit,
        on_broken=options.on_broken,
    )


def make_threads(options: PoolOptions) -> Pool:
    return ThreadPool(options.handler, options.size)


def make_solo(options: PoolOptions) -> Pool:
    return SoloPool(options.handler, on_start=options.hooks.on_solo_start)


@dataclass(frozen=True)
class PoolKind:
    """One pool that a worker can have."""

    pool_class: Callable[[], type[Pool]]
    """Returns the pool's class. Its module is imported when a worker needs it."""
    make: Callable[[PoolOptions], Pool]
    aliases: tuple[str, ...]
    """Other names that Celery has for this pool."""
    forks: bool = False
    """Whether jobs run in child processes. A process that already has threads can't use such a pool."""
    only_size: int | None = None
    """The one size that this pool can have; None where any size will do."""


POOLS: dict[str, PoolKind] = {
    "prefork": PoolKind(
        prefork_class, make_prefork, aliases=("processes", "celery.concurrency.prefork:TaskPool"), forks=True
    ),
    "threads": PoolKind(lambda: ThreadPool, make_threads, aliases=("celery.concurrency.thread:TaskPool",)),
    "solo": PoolKind(lambda: SoloPool, make_solo, aliases=("celery.concurrency.solo:TaskPool",), only_size=1),
}
"""Every pool by its name."""

GREEN = (
    "it replaces the sockets and threads of a process, and the Temporal client is native code that it can't reach; "
    "use -P threads with a larger -c, or write the tasks as `async def`"
)
REFUSED = {
    "gevent": GREEN,
    "eventlet": GREEN,
    "custom": "the pools are prefork, threads and solo, by these names: there is no class to replace",
}
"""Celery's other pools, and why a worker refuses them."""

PROCESSOR_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def accepted_names() -> list[str]:
    """Return every name that `-P` understands, refused pools included: their error says why."""
    return [*POOLS, *(alias for kind in POOLS.values() for alias in kind.aliases), *REFUSED]


def pool_name(given: object) -> str:
    """Return the name of the pool that `-P`, `worker_pool` or a pool's class means."""
    for name, kind in POOLS.items():
        if (isinstance(given, type) and given is kind.pool_class()) or str(given) in (name, *kind.aliases):
            return name
    for refused, reason in REFUSED.items():
        if refused in str(given):
            raise ImproperlyConfigured(f"pool {str(given)!r} is refused: {reason}")
    raise ImproperlyConfigured(f"there is no pool {str(given)!r}; there are {', '.join(POOLS)}")


def pool_size(given: int | str | None, pool: str) -> int:
    """Return how many tasks the pool runs at a time.

    :param given: a number, `auto`, or None. None means one task for each processor; `auto` also respects the
        container's quota.
    """
    kind = POOLS[pool]
    if kind.only_size is not None:
        return kind.only_size
    if isinstance(given, int) and given > 0:
        return given
    processors = _processors()
    if given == "auto" and kind.forks and (quota := _processor_quota()):
        return max(1, min(processors, int(quota)))
    return processors


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor_quota() -> float | None:
    """Return how many processors the container may use; None without a limit."""
    try:
        limit, period = PROCESSOR_QUOTA.read_text().split()
        return float(limit) / float(period)
    except (OSError, ValueError):  # no container, or a container without a limit: the file says "max"
        return None
