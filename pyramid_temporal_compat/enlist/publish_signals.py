"""Tell of a message that is published: Celery's signals, and kombu's `Producer.publish` if a tool has wrapped it.

The signals `before_task_publish`, `after_task_publish` and `task_sent` show Celery's view of a message.

A tracing tool begins a span in `before_task_publish`, makes it the current span, and ends it in `after_task_publish`.
In Celery nothing happens between the two. Here the rest of the transaction does. So each message has a context of its
own (`contextvars`), a copy of the caller's. What the receivers make current there is not seen elsewhere.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from typing import Any

from .. import signals
from ..celery_names.producer import is_wrapped, task_producer
from ..exceptions import InvalidCall
from ..message.backoff import DEFAULTS
from ..message.celery_call import CeleryCall
from ..message.celery_view import STAMPED_HEADERS, STAMPS, protocol_headers
from ..message.message import Message
from ..message.outgoing import Outgoing


def is_watched() -> bool:
    """Return whether a receiver or a tool wants to know of a message before it is published."""
    return bool(signals.before_task_publish.receivers) or is_wrapped()


def before_publish(message: Message, args: Any, kwargs: Any) -> Message:
    """Tell that the message will be published. Return it with the headers that receivers have added or changed."""
    standard = protocol_headers(message)
    headers = {**standard, **message.headers}
    context = contextvars.copy_context()
    options = {"declare": [], "retry_policy": policy_of(message)}
    context.run(_send, signals.before_task_publish, message, headers, args, kwargs, **options)
    published = context.run(_published, message, headers, args, kwargs)
    stamps = {key: published[key] for key in (STAMPED_HEADERS, STAMPS) if published.get(key)}
    own = {key: value for key, value in published.items() if key not in standard} | stamps
    if not all(isinstance(key, str) for key in own):
        raise InvalidCall(f"task {message.task!r}: a receiver of before_task_publish set headers that are no texts")
    return message.copy(headers=own, publish_context=context)


def _published(message: Message, headers: Mapping[str, Any], args: Any, kwargs: Any) -> Mapping[str, Any]:
    """Return the headers with which the message leaves kombu's producer, if a tool has wrapped it."""
    if not is_wrapped():
        return headers
    producer = task_producer()
    producer.publish(**_parts_of(message, headers, args, kwargs))
    published: Mapping[str, Any] = producer.headers
    return published


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
        (message.publish_context or contextvars.copy_context()).run(_tell_that_it_left, message)


def _tell_that_it_left(message: Message | CeleryCall) -> None:
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
    signal: signals.Signal,
    message: Message | CeleryCall,
    headers: Mapping[str, Any],
    args: Any,
    kwargs: Any,
    **more: Any,
) -> None:
    properties = {"correlation_id": message.id, "reply_to": "", "priority": message.priority}
    signal.send(sender=message.task, properties=properties, **_parts_of(message, headers, args, kwargs), **more)


def _parts_of(message: Message | CeleryCall, headers: Mapping[str, Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """Return what kombu gets to publish the message."""
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return {
        "body": (args, kwargs, embed),
        "exchange": "",
        "routing_key": message.queue,
        "headers": headers,
    }
