"""The commands that every worker answers to control calls; Celery's `celery.worker.control`.

Commands are plain functions that take the worker's `State`. An application's own commands may call them.

In order: commands about the worker, about tasks, about the pool and the queues. `command_replies` holds the shapes of
their replies.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..celery_names.lists import as_list
from ..exceptions import CeleryError, WorkerShutdown
from ..log_lines.text_safety import one_line
from ..message.celery_view import stamps_of
from ..message.message import Message, is_name
from ..settings import connection
from ..settings.values import boolean
from ..version import __version__
from . import process_state
from .call_arguments import signal_name
from .command_registry import Panel, State, control_command, inspect_command
from .command_replies import (
    each_shown,
    nok,
    ok,
    queue_info,
    resident_memory,
    sendable,
    taken_info,
    task_info,
    with_attributes,
)
from .other_applications import introduction

if TYPE_CHECKING:
    from ..interfaces import TakenLike

__all__ = ["Panel", "State", "control_command", "inspect_command"]

log = logging.getLogger(__name__)

TASK_INFO = ("exchange", "routing_key", "rate_limit")
"""The attributes that `registered` shows if the caller names none."""
SCHEDULED_PRIORITY = 6
"""The priority that Celery's timer gives every delayed task."""
LARGEST_POOL = 1000
"""The largest pool that an order may ask for. A place may be a process: a mistyped number could fill a machine."""
ALWAYS_SHOWN = (
    "accept_content",
    "broker_heartbeat",
    "broker_url",
    "enable_utc",
    "include",
    "result_backend",
    "timezone",
    "worker_hijack_root_logger",
    "worker_log_color",
)
"""The settings that `conf` always shows, even if they have their default."""

MOST_SAMPLES = 1000
"""Samples of memory that are kept until `memdump`."""
MOST_ATTRIBUTES = 50
"""Attributes that `registered` shows of each task."""

_samples: deque[str] = deque(maxlen=MOST_SAMPLES)


# --- the worker --------------------------------------------------------------------------------------


@inspect_command(default_timeout=0.2)
def ping(state: State, **kwargs: Any) -> dict[str, str]:
    """Ping worker(s)."""
    return ok("pong")


@inspect_command()
def clock(state: State, **kwargs: Any) -> dict[str, int]:
    """A number that grows with each task and each control call."""
    return {"clock": state.clock}


@inspect_command(visible=False)
def hello(
    state: State, from_node: str, revoked: Sequence[str] | None = None, from_app: str | None = None, **kwargs: Any
) -> dict[str, Any] | None:
    """Exchange revoked ids with a worker that starts, and tell it this worker's queues and tasks.

    A worker that sends `from_app`, its app's id, is known by that id: two workers of one host may have the same name.
    """
    itself = from_node == state.hostname if from_app is None else from_app == state.app.oid
    if itself:
        return None
    process_state.revoked.update(revoked or ())
    process_state.revoked.purge()
    return {
        "revoked": list(process_state.revoked),
        "revoked_stamps": process_state.revoked_stamps,
        "clock": state.clock,
        **introduction(state.worker),
    }


@inspect_command()
def stats(state: State, **kwargs: Any) -> dict[str, Any]:
    """What the worker is, has done and has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    where = connection(state.app.conf)
    host, _, port = where.address.rpartition(":")
    return {
        "broker": {
            "transport": "temporal",
            "hostname": host,
            "port": int(port) if port.isdigit() else port,
            "virtual_host": where.namespace,
            "connect_timeout": where.connect_timeout,
            "ssl": bool(where.tls),
        },
        "clock": state.clock,
        "pid": os.getpid(),
        "pool": {"implementation": state.worker.pool_name, **state.worker.pool.info()},
        "prefetch_count": state.worker.slots.size,
        "queues": list(state.worker.queues),
        "running": len(state.taken),
        "rusage": {name[3:]: getattr(usage, name) for name in dir(usage) if name.startswith("ru_")},
        "total": dict(process_state.total_count),
        "uptime": time.monotonic() - state.began,
        "version": __version__,
    }


@inspect_command()
def report(state: State, **kwargs: Any) -> dict[str, str]:
    """Versions and settings, for bug reports."""
    return ok(state.app.bugreport())


@inspect_command(alias="dump_conf", signature="[include_defaults=False]", args=[("with_defaults", boolean.parse)])
def conf(state: State, with_defaults: bool = False, **kwargs: Any) -> dict[str, Any]:
    """The settings; secrets are masked."""
    everything = state.app.conf.table(with_defaults=True)
    shown = everything if with_defaults else state.app.conf.table()
    always = {name: everything.get(name) for name in ALWAYS_SHOWN}
    return {name: sendable(value) for name, value in {"deprecated_settings": None, **always, **shown}.items()}


@inspect_command()
def memsample(state: State, **kwargs: Any) -> str:
    """The worker's resident memory now."""
    _samples.append(resident_memory())
    return _samples[-1]


@inspect_command(args=[("samples", int)], signature="[n_samples=10]")
def memdump(state: State, samples: int = 10, **kwargs: Any) -> str:
    """The samples since the last dump, and the memory after a garbage collection."""
    step = max(1, len(_samples) // max(1, samples))
    lines = [f"-    > {sample}," for sample in list(_samples)[::step][:samples]]
    _samples.clear()
    gc.collect()
    return "\n".join([*(["- rss (sample):", *lines] if lines else []), f"- rss (end): {resident_memory()}."])


@control_command()
def shutdown(state: State, msg: str = "Got shutdown from remote", **kwargs: Any) -> None:
    """Shutdown worker(s)."""
    log.warning("%s", one_line(msg))
    raise WorkerShutdown(0)


# --- tasks ---------------------------------------------------------------------------------------------


@inspect_command(alias="dump_active")
def active(state: State, safe: bool | None = False, **kwargs: Any) -> list[dict[str, Any]]:
    """List of tasks currently being executed."""
    return each_shown(lambda taken: taken_info(state, taken, safe), (taken for taken in state.taken if taken.began))


@inspect_command(alias="dump_reserved")
def reserved(state: State, safe: bool | None = False, **kwargs: Any) -> list[dict[str, Any]]:
    """List of tasks that were taken and wait for a place in the pool."""
    waiting = (taken for taken in state.taken if not taken.began)
    return each_shown(lambda taken: taken_info(state, taken, safe), waiting)


@inspect_command(alias="dump_schedule")
async def scheduled(state: State, safe: bool | None = False, **kwargs: Any) -> list[dict[str, Any]]:
    """List of ETA/countdown tasks that the server holds for this worker's queues."""

    def shown(message: Message) -> dict[str, Any]:
        return {
            "eta": message.eta.isoformat(timespec="microseconds") if message.eta else None,
            "priority": SCHEDULED_PRIORITY,
            "request": task_info(state, message, safe),
        }

    return await asyncio.to_thread(each_shown, shown, await state.delayed.all())


@inspect_command(alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 [... [attrN]]]]")
def registered(
    state: State, taskinfoitems: Sequence[str] | None = None, builtins: bool = False, **kwargs: Any
) -> list[str]:
    """List of registered tasks."""
    items = [item for item in taskinfoitems or TASK_INFO if not item.startswith("_")][:MOST_ATTRIBUTES]
    tasks = state.app.tasks
    names = [name for name in sorted(tasks) if builtins or not name.startswith("celery.")]
    return [with_attributes(name, tasks[name], items) for name in names]


@inspect_command(variadic="ids", signature="[id1 [id2 [... [idN]]]]")
async def query_task(state: State, ids: Any, **kwargs: Any) -> dict[str, list[Any]]:
    """Query for task information by id."""
    asked = dict.fromkeys(filter(is_name, as_list(ids)))
    taken = [each for each in map(state.find, asked) if each]
    shown = each_shown(lambda each: taken_info(state, each), taken)
    found: dict[str, list[Any]] = {
        info["id"]: ["active" if each.began else "reserved", info] for each, info in zip(taken, shown, strict=True)
    }
    if len(found) < len(asked):
        waiting = await state.delayed.among(asked)
        infos = await asyncio.to_thread(each_shown, lambda message: task_info(state, message), waiting)
        found |= {info["id"]: ["scheduled", info] for info in infos}
    return found


@inspect_command(alias="dump_revoked")
def revoked(state: State, **kwargs: Any) -> list[str]:
    """List of revoked task-ids."""
    return list(process_state.revoked)


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(
    state: State, task_id: Any, terminate: bool = False, signal: str | int | None = None, **kwargs: Any
) -> dict[str, Any]:
    """Revoke task by task id (or list of ids)."""
    ids = as_list(task_id)
    process_state.revoked.update(ids)
    if not terminate:
        log.info("Tasks flagged as revoked: %s", one_line(", ".join(ids)))
        return ok(f"tasks {set(ids)} flagged as revoked")
    stopped = stop(filter(None, map(state.find, ids)), signal)
    return ok(f"terminate: {', '.join(stopped)}" if stopped else "terminate: tasks unknown")


@control_command(variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]")
def terminate(state: State, signal: str, task_id: Any, **kwargs: Any) -> dict[str, Any]:
    """Terminate task by task id (or list of ids)."""
    return revoke(state, task_id, terminate=True, signal=signal)


@control_command(variadic="headers", signature="[key1=value1 [key2=value2 [... [keyN=valueN]]]]")
def revoke_by_stamped_headers(
    state: State, headers: Any, terminate: bool = False, signal: str | int | None = None, **kwargs: Any
) -> dict[str, Any]:
    """Revoke tasks by the stamps in their headers."""
    if not isinstance(headers, Mapping):
        headers = dict(entry.split("=", 1) for entry in headers)
    process_state.revoke_stamps(headers)
    if not terminate:
        return ok(f"headers {dict(headers)} flagged as revoked, but not terminated")
    found = [
        (taken, stamps)
        for taken in state.taken
        if (stamps := process_state.matching_stamps(headers, stamps_of(taken.job.message)))
    ]
    if not found:
        return ok(f"headers {dict(headers)} were not terminated")
    stop((taken for taken, _ in found), signal)
    matched: dict[str, set[Any]] = {}
    for _, stamps in found:
        for header, values in stamps.items():
            matched.setdefault(header, set()).update(values)
    return ok(f"headers {matched} revoked")


@control_command(args=[("task_name", str)], signature="<task_name>", visible=False)
def paused(state: State, task_name: str, **kwargs: Any) -> dict[str, Any]:
    """Tell worker(s) that a type of tasks was paused on the server: `control.paused_types`."""
    process_state.paused_types.add(str(task_name))
    return ok("tasks of this type are given back")


@control_command(args=[("task_name", str)], signature="<task_name>", visible=False)
def resumed(state: State, task_name: str, **kwargs: Any) -> dict[str, Any]:
    """Tell worker(s) that a type of tasks was resumed on the server."""
    process_state.paused_types.discard(str(task_name))
    process_state.resumed_types.add(str(task_name))
    return ok("tasks of this type start again")


@control_command(
    args=[("task_name", str), ("rate_limit", str)], signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>"
)
def rate_limit(state: State, task_name: str, rate_limit: Any, **kwargs: Any) -> dict[str, Any]:
    """Tell worker(s) to modify the rate limit for a task by type."""
    task = state.app.tasks.get(task_name)
    if task is None:
        return nok("unknown task")
    try:
        state.orders.limit_rate(task_name, rate_limit)
    except ValueError as error:
        return nok(f"Invalid rate limit string: {error}")
    task.rate_limit = rate_limit
    log.info("New rate limit for tasks of type %s: %s.", task_name, one_line(rate_limit or "none"))
    return ok("new rate limit set successfully" if rate_limit else "rate limit disabled successfully")


@control_command(
    args=[("task_name", str), ("soft", float), ("hard", float)], signature="<task_name> <soft_secs> [hard_secs]"
)
def time_limit(
    state: State, task_name: str, hard: float | None = None, soft: float | None = None, **kwargs: Any
) -> dict[str, Any]:
    """Tell worker(s) to modify the time limit for task by type."""
    task = state.app.tasks.get(task_name)
    if task is None:
        return nok("unknown task")
    for limit in (soft, hard):
        if limit is not None and (not isinstance(limit, (int, float)) or not 0 <= limit < float("inf")):
            return nok(f"Invalid time limit: {limit!r:.80}; it takes a number of seconds")
    state.orders.limit_time(task_name, soft, hard)
    task.soft_time_limit, task.time_limit = soft, hard
    log.info("New time limits for tasks of type %s: soft=%s hard=%s", task_name, soft, hard)
    return ok("time limits set successfully")


# --- the pool and the queues ----------------------------------------------------------------------------


@control_command(args=[("n", int)], signature="[N=1]")
def pool_grow(state: State, n: int = 1, **kwargs: Any) -> dict[str, Any]:
    """Grow pool by n processes/threads."""
    state.worker.resize(new_size(state, n))
    return ok("pool will grow")


@control_command(args=[("n", int)], signature="[N=1]")
def pool_shrink(state: State, n: int = 1, **kwargs: Any) -> dict[str, Any]:
    """Shrink pool by n processes/threads."""
    state.worker.resize(new_size(state, -n))
    return ok("pool will shrink")


@control_command(args=[("max", int), ("min", int)], signature="[max [min]]")
def autoscale(state: State, max: int | None = None, min: int | None = None, **kwargs: Any) -> dict[str, Any]:
    """Modify autoscale settings."""
    scaler = state.worker.autoscaler
    if scaler is None:
        raise CeleryError("this worker was not started with --autoscale; use pool_grow and pool_shrink")
    for bound in (max, min):
        checked_size(0 if bound is None else bound)
    largest, smallest = scaler.update(max, min)
    return ok(f"autoscale now max={largest} min={smallest}")


@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(state: State, queue: str, **options: Any) -> dict[str, Any]:
    """Tell worker(s) to consume from task queue by name."""
    state.worker.serve_queue(queue)
    return ok(f"add consumer {queue}")


@control_command(args=[("queue", str)], signature="<queue>")
def cancel_consumer(state: State, queue: str, **kwargs: Any) -> dict[str, Any]:
    """Tell worker(s) to stop consuming from task queue by name."""
    state.worker.drop_queue(queue)
    return ok(f"no longer consuming from {queue}")


@inspect_command()
def active_queues(state: State, **kwargs: Any) -> list[dict[str, Any]]:
    """List the task queues a worker is currently consuming from."""
    return [queue_info(state.app, queue) for queue in state.worker.queues]


# --- helpers of the commands -----------------------------------------------------------------------------


def new_size(state: State, more: int) -> int:
    """Return the pool's size with `more` places; raise `CeleryError` if it is too large to be meant."""
    return checked_size(state.worker.concurrency + whole_number(more))


def whole_number(value: Any) -> int:
    """Return the number; raise `TypeError` for any other value. NaN is larger and smaller than no limit at all."""
    if type(value) is not int:
        raise TypeError(f"{value!r:.80} is not a whole number")
    return value


def checked_size(size: int) -> int:
    """Return the size; raise `CeleryError` if it is too large to be meant."""
    if whole_number(size) > LARGEST_POOL:
        raise CeleryError(
            f"the pool would have {size:,} places, and an order may ask for {LARGEST_POOL:,}; "
            "for a larger pool, start the worker with --concurrency"
        )
    return size


def stop(found: Iterable[TakenLike], signal: str | int | None) -> list[str]:
    """Stop these tasks. Return their ids."""
    name = signal_name(signal)
    stopped = []
    for taken in found:
        log.info("Terminating %s (%s)", taken.job.message.id, name)
        taken.terminate(name)
        stopped.append(taken.job.message.id)
    return stopped
