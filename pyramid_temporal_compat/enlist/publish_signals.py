"""The signals around sending, with Celery's view of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import signals
from ..exceptions import InvalidCall
from ..message.message import Message
from ..message.publish_retry import DEFAULTS
from ..message.tree import Unit

STAMPS = ("stamped_headers", "stamps")
"""What Celery has among a message's standard headers, and a message here among the application's own."""


def before_publish(message: Message, args: Any, kwargs: Any) -> Message:
    """Send `before_task_publish`. What receivers add to the headers, and change of their own, goes with the message."""
    standard = standard_headers(message)
    headers = {**standard, **message.headers}
    _send(signals.before_task_publish, message, headers, args, kwargs, declare=[], retry_policy=policy_of(message))
    own = {key: value for key, value in headers.items() if key not in standard or (key in STAMPS and value)}
    if not all(isinstance(key, str) for key in own):
        raise InvalidCall(f"task {message.task!r}: a receiver of before_task_publish set headers that are no texts")
    return message.copy(headers=own)


def policy_of(message: Message) -> dict[str, Any]:
    return dict(DEFAULTS) if message.tries is None else message.tries.policy()


def after_publish(unit: Unit) -> None:
    """Send `after_task_publish`: the server has the message. The arguments are bytes by now, and are not shown."""
    if not signals.after_task_publish.receivers and not signals.task_sent.receivers:
        return
    for message in unit.messages:
        _send(signals.after_task_publish, message, {**standard_headers(message), **message.headers}, (), {})
        details: dict[str, Any] = {
            "task_id": message.id,
            "task": message.task,
            "args": (),
            "kwargs": {},
            "eta": message.eta,
        }
        signals.task_sent.send(sender=message.task, taskset=None, **details)


def _send(
    signal: signals.Signal, message: Message, headers: dict[str, Any], args: Any, kwargs: Any, **more: Any
) -> None:
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    signal.send(
        sender=message.task,
        body=(args, kwargs, embed),
        exchange="",
        routing_key=message.queue,
        headers=headers,
        properties={"correlation_id": message.id, "reply_to": "", "priority": message.priority},
        **more,
    )


def standard_headers(message: Message) -> Mapping[str, Any]:
    """The headers of Celery's message protocol 2."""
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
        "stamped_headers": None,
        "stamps": {},
    }
