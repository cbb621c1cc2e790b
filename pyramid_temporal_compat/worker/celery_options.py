"""Celery's options of a worker: which of them act, and what stands for those that don't."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from ..exceptions import ImproperlyConfigured
from ..settings.celery_names import NO_SCHEDULES, SLOTS

ACTS = frozenset(
    {
        "activities",
        "autoscale",
        "concurrency",
        "exclude_queues",
        "gid",
        "graceful_timeout",
        "hostname",
        "include",
        "logfile",
        "loglevel",
        "max_memory_per_child",
        "max_tasks_per_child",
        "no_color",
        "pidfile",
        "pool",
        "pool_cls",
        "purge",
        "queues",
        "quiet",
        "ready_callback",
        "redirect_stdouts",
        "redirect_stdouts_level",
        "soft_time_limit",
        "time_limit",
        "uid",
        "umask",
        "workflows",
    }
)

NO_GOSSIP = "workers have nothing to tell each other: the server knows what each of them runs"

EQUIVALENT: dict[str, str] = {
    "disable_prefetch": SLOTS,
    "executable": "the Python that runs this command runs the worker",
    "heartbeat_interval": "workers beat for each task that runs; ptemporal.heartbeat_timeout: how soon one is missed",
    "optimization": "a task goes to a process that is free: -O fair is how it always is",
    "pool_start_method": "children are forked from a process that has no threads, which is what spawn is asked for",
    "prefetch_multiplier": SLOTS,
    "schedule_filename": NO_SCHEDULES,
    "scheduler": NO_SCHEDULES,
    "statedb": "the server remembers what was revoked; no worker has a file",
    "task_events": "the server keeps every task's events; see them in its web UI",
    "use_eventloop": "the worker has one",
    "without_gossip": NO_GOSSIP,
    "without_heartbeat": "a worker is told from a dead one by its heartbeats; they are part of what runs a task",
    "without_mingle": NO_GOSSIP,
    "workdir": "change the working directory before the worker is made",
}
"""What is taken and needs nothing done."""

REFUSED: dict[str, str] = {
    "beat": NO_SCHEDULES,
    "detach": (
        "a worker does not put itself into the background: have systemd, supervisor or a container run it, "
        "which start it again too"
    ),
}


def notices(options: Mapping[str, Any]) -> Iterator[str]:
    """A line for each option that was given and needs nothing done; raises for one that is refused or unknown."""
    for name, value in options.items():
        if value is None or value is False or value == ():
            continue
        if name in REFUSED:
            raise ImproperlyConfigured(f"{_written(name)} is refused: {REFUSED[name]}")
        if name in EQUIVALENT:
            yield f"{_written(name)}: {EQUIVALENT[name]}"
        elif name not in ACTS:
            near = difflib.get_close_matches(name, {*ACTS, *EQUIVALENT}, n=1, cutoff=0.0)
            raise ImproperlyConfigured(f"a worker has no option {name!r}; the nearest is {near[0]!r}")


def _written(name: str) -> str:
    return f"--{name.replace('_', '-')}"
