"""A message as Celery shows it: its protocol-2 headers, `self.request`, and the entry that `inspect` lists.

Every name that Celery gives to a part of a message is written here once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .message import CARRIED_OPTIONS, Message

STAMPED_HEADERS = "stamped_headers"
STAMPS = "stamps"
"""Celery has these two among a message's standard headers. Here they travel among the application's own headers."""


def protocol_headers(message: Message) -> dict[str, Any]:
    """Return the headers of Celery's message protocol 2."""
    return {
        "lang": "py",
        "task": message.task,
        "id": message.id,
        "shadow": message.shadow,
        "eta": message.eta.isoformat() if message.eta else None,
        "expires": message.expires.isoformat() if message.expires else None,
        "group": message.group,
        "group_index": message.group_index,
        "retries": message.retries,
        "timelimit": [message.time_limit, message.soft_time_limit],
        "root_id": message.root_id,
        "parent_id": message.parent_id,
        "argsrepr": message.argsrepr,
        "kwargsrepr": message.kwargsrepr,
        "origin": message.origin,
        "ignore_result": message.ignore_result,
        "replaced_task_nesting": message.replaced_task_nesting,
        STAMPED_HEADERS: message.headers.get(STAMPED_HEADERS),
        STAMPS: message.headers.get(STAMPS) or {},
    }


def request_values(message: Message, retries: int, hostname: str, redelivered: bool = False) -> dict[str, Any]:
    """Return the values of `self.request` that come from the message, by Celery's names. Arguments are left out."""
    headers = message.read_headers()
    values = {part: getattr(message, part) for part in CARRIED_OPTIONS.values()} | protocol_headers(message)
    del values["lang"]
    return {
        **values,
        "chord": message.chord,
        "correlation_id": message.id,
        "delivery_info": delivery_info(message, redelivered),
        "hostname": hostname,
        "own_headers": headers or None,
        "periodic_task_name": message.scheduled,
        "properties": {
            "correlation_id": message.id,
            "delivery_mode": 2,  # what Celery's tasks find there: every message is stored
            "priority": message.priority,
            "reply_to": "",
            **message.properties,
        },
        "retries": retries,
        STAMPED_HEADERS: headers.get(STAMPED_HEADERS),
        STAMPS: headers.get(STAMPS),
    }


def inspected(message: Message, args: Any, kwargs: Any, hostname: str) -> dict[str, Any]:
    """Return the entry of a task that waits, as `inspect` lists it."""
    return {
        "id": message.id,
        "name": message.task,
        "args": args,
        "kwargs": kwargs,
        "type": message.task,
        "hostname": hostname,
        "time_start": None,
        "acknowledged": False,
        "delivery_info": {**delivery_info(message), "priority": message.priority or 0},
        "worker_pid": None,
    }


def delivery_info(message: Message, redelivered: bool = False) -> dict[str, Any]:
    """Return Celery's `delivery_info`. There is no exchange: the routing key is the name of the queue."""
    return {
        "exchange": "",
        "routing_key": message.queue,
        "priority": message.priority,
        "redelivered": redelivered,
    }


def options_of(message: Message) -> dict[str, Any]:
    """Return the options of `apply_async` that a retry of the message sends again."""
    return {option: getattr(message, part) for option, part in CARRIED_OPTIONS.items()}


def stamp_names(message: Message) -> list[str]:
    """Return the names of the message's stamps, or none if an application has put something else in that header."""
    names = message.headers.get(STAMPED_HEADERS)
    return [name for name in names if isinstance(name, str)] if isinstance(names, (list, tuple)) else []


def stamps_of(message: Message) -> Mapping[str, Any]:
    """Return the message's stamps, by their names."""
    stamps = message.headers.get(STAMPS)
    if isinstance(stamps, Mapping):
        return stamps
    return {name: message.headers.get(name) for name in stamp_names(message)}
