"""The parts of a worker's replies to control calls: tasks, queues and values in Celery's shape."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..message.body import read_body
from ..message.celery_view import inspected
from ..message.message import Message
from ..payload.bounds import read_together
from ..payload.types import dumps
from .command_registry import State

if TYPE_CHECKING:
    from ..interfaces import AppLike, TakenLike

log = logging.getLogger(__name__)

MOST_SHOWN_BYTES = 1024 * 1024
MOST_SHOWN_VALUES = 50_000
"""Bytes and values of the arguments that one reply shows decoded. The arguments of further tasks are shown as text."""

T = TypeVar("T")


def ok(value: Any) -> dict[str, Any]:
    """Return the reply of a command that has done what it was asked."""
    return {"ok": value}


def nok(value: Any) -> dict[str, Any]:
    """Return the reply of a command that could not do what it was asked."""
    return {"error": value}


def taken_info(state: State, taken: TakenLike, safe: bool | None = False) -> dict[str, Any]:
    """Return a task that this worker has taken, in Celery's shape."""
    info = task_info(state, taken.job.message, safe)
    if taken.began:
        info |= {"time_start": taken.began.at, "acknowledged": True, "worker_pid": taken.began.pid}
    return info


def task_info(state: State, message: Message, safe: bool | None = False) -> dict[str, Any]:
    """Return a task that has not begun, in Celery's shape. With `safe`, its arguments are text and not decoded."""
    return inspected(message, *arguments_of(state.app, message, safe), state.hostname)


def each_shown(show: Callable[[T], dict[str, Any]], tasks: Iterable[T]) -> list[dict[str, Any]]:
    """Return what `show` returns for each task. All tasks share one bound on the arguments that are decoded."""
    with read_together(MOST_SHOWN_BYTES, MOST_SHOWN_VALUES):
        return [show(task) for task in tasks]


def arguments_of(app: AppLike, message: Message, safe: bool | None) -> tuple[Any, Any]:
    """Return args and kwargs: decoded if that is allowed and possible, else as the text that the sender made."""
    if not safe:
        try:
            body = read_body(message, app.conf.accept_content)
            return sendable(body["args"]), sendable(body["kwargs"])
        except Exception as error:
            log.debug("the arguments of %s[%s] can't be shown: %r", message.task, message.id, error)
    return message.argsrepr, message.kwargsrepr


def sendable(value: Any) -> Any:
    """Return the value if it can be sent, else its repr."""
    try:
        dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value


def with_attributes(name: str, task: Any, attributes: Sequence[str]) -> str:
    """Return a task's name and some attributes, as `name [rate_limit=10/s]`. Attributes that are None are left out."""
    shown = [f"{item}={value}" for item in attributes if (value := getattr(task, item, None)) is not None]
    return f"{name} [{' '.join(shown)}]" if shown else name


def queue_info(app: AppLike, name: str) -> dict[str, Any]:
    """Return a queue in kombu's shape: from `task_queues`, with kombu's defaults for fields that have no effect."""
    declared = next((entry for entry in app.conf.task_queues or () if getattr(entry, "name", entry) == name), None)
    exchange = getattr(declared, "exchange", None)
    return {
        "name": name,
        "exchange": {
            "name": getattr(exchange, "name", None) or name,
            "type": getattr(exchange, "type", None) or "direct",
            "arguments": None,
            "durable": True,
            "passive": False,
            "auto_delete": False,
            "delivery_mode": None,
            "no_declare": False,
        },
        "routing_key": getattr(declared, "routing_key", None) or name,
        "queue_arguments": None,
        "binding_arguments": None,
        "consumer_arguments": None,
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
        "no_ack": False,
        "alias": None,
        "bindings": [],
        "no_declare": None,
        "expires": None,
        "message_ttl": None,
        "max_length": None,
        "max_length_bytes": None,
        "max_priority": None,
    }


def resident_memory() -> str:
    """Return this process's resident memory as text. Systems without /proc only know the most it ever had."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used = pages * resource.getpagesize()
    except OSError:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f"{used / 2**20:.2f}MB"
