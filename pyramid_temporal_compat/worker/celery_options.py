"""Celery's options of a worker: options that act, options that need nothing done, and options that are refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from ..exceptions import ImproperlyConfigured
from ..settings.celery_names import NO_BEAT_PROCESS, SLOTS

ACTS = frozenset(
    {
        "activities",
        "autoscale",
        "beat",
        "concurrency",
        "exclude_queues",
        "gid",
        "graceful_timeout",
        "health_port",
        "hostname",
        "include",
        "logfile",
        "loglevel",
        "max_memory_per_child",
        "max_tasks_per_child",
        "metrics_port",
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
        "to_celery",
        "uid",
        "umask",
        "workflows",
    }
)

NO_GOSSIP = "workers have nothing to tell each other: the server knows what each worker runs"

EQUIVALENT: dict[str, str] = {
    "disable_prefetch": SLOTS,
    "executable": "the Python that runs this command runs the worker",
    "heartbeat_interval": "each running task has heartbeats; ptemporal.heartbeat_timeout: when its worker is lost",
    "optimization": "a task goes to a process that is free: every worker behaves as with -O fair",
    "pool_start_method": "children are forked from a process without threads, which is why people choose spawn",
    "prefetch_multiplier": SLOTS,
    "schedule_filename": "the server remembers the last runs",
    "scheduler": NO_BEAT_PROCESS,
    "statedb": "the server remembers what was revoked; no worker has a file",
    "task_events": "the server keeps every task's events; its web UI shows them",
    "use_eventloop": "the worker has one",
    "without_gossip": NO_GOSSIP,
    "without_heartbeat": "each running task has heartbeats: without them the server can't see that a worker has died",
    "without_mingle": NO_GOSSIP,
    "workdir": "change the working directory before the worker is made",
}
"""Options that are accepted and need nothing done, each with the reason."""

REFUSED: dict[str, str] = {
    "detach": (
        "a worker does not put itself into the background: have systemd, supervisor or a container run it, "
        "which also start it again"
    ),
}


def notices(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each given option that needs nothing done. Raise for an option that is refused or unknown."""
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
