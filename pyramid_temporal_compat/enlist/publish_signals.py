"""Send the signals `before_task_publish`, `after_task_publish` and `task_sent`, with Celery's view of a message."""

from __future__ import annotations

from typing import Any

from .. import signals
from ..exceptions import InvalidCall
from ..message.backoff import DEFAULTS
from ..message.celery_call import CeleryCall
from ..message.celery_view import STAMPED_HEADERS, STAMPS, protocol_headers
from ..message.message import Message
from ..message.outgoing import Outgoing


def before_publish(message: Message, args: Any, kwargs: Any) -> Message:
    """Send `before_task_publish`. Return the message with the headers that receivers have added or changed."""
    standard = protocol_headers(message)
    headers = {**standard, **message.headers}
    _send(signals.before_task_publish, message, headers, args, kwargs, declare=[], retry_policy=policy_of(message))
    stamps = {key: headers[key] for key in (STAMPED_HEADERS, STAMPS) if headers.get(key)}
    own = {key: value for key, value in headers.items() if key not in standard} | stamps
    if not all(isinstance(key, str) for key in own):
        raise InvalidCall(f"task {message.task!r}: a receiver of before_task_publish set headers that are no texts")
    return message.copy(headers=own)


def policy_of(message: Message) -> dict[str, Any]:
    """Return the message's `retry_policy`, as Celery writes it."""
    return dict(DEFAULTS) if message.publish_retry is None else message.publish_retry.policy()


def after_publish(unit: Outgoing) -> None:
    """Send `after_task_publish` and `task_sent`: the server, or Celery's broker, has accepted the unit.

    Receivers get no arguments, because the arguments are serialised by now.
    """
    if not signals.after_task_publish.receivers and not signals.task_sent.receivers:
        return
    published: tuple[Message | CeleryCall, ...] = (unit,) if isinstance(unit, CeleryCall) else unit.messages
    for message in published:
        standard = {} if isinstance(message, CeleryCall) else protocol_headers(message)
        _send(signals.after_task_publish, message, {**standard, **message.headers}, (), {})
        details: dict[str, Any] = {
            "task_id": message.id,
            "task": message.task,
            "args": (),
            "kwargs": {},
            "eta": message.eta,
        }
        signals.task_sent.send(sender=message.task, taskset=None, **details)


def _send(
    signal: signals.Signal, message: Message | CeleryCall, headers: dict[str, Any], args: Any, kwargs: Any, **more: Any
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
