"""Publish messages to Celery's broker, in the form in which kombu writes them: to Redis, and to AMQP brokers.

On Redis, publishing a call twice puts one message into the queue: the same step that adds the message leaves a mark
of its id. AMQP has no such step. A call is published twice there if this process dies after the broker has the call and
before the outbox row is deleted.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import uuid
from typing import Any, Protocol

from ..celery_names.urls import sanitize_url
from ..exceptions import ImproperlyConfigured, OperationalError
from ..message.celery_call import CeleryCall
from .clients import AMQP_SCHEMES, REDIS_SCHEMES, amqp_connection, client_library, reason_of, redis_client, scheme_of

MARK = "ptemporal-published:"
MARK_SECONDS = 7 * 86400
"""How long Redis remembers that a call was published: longer than an outbox row waits."""
ANSWER_TIMEOUT = 5.0
"""Seconds that the broker may take for one answer."""
PRIORITY_MARK = "\x06\x16"
PRIORITY_STEPS = (0, 3, 6, 9)
"""The priorities for which kombu has a list in Redis. A priority between two steps uses the lower step."""
HIGHEST = 9
NO_ROUTE = 312
PUBLISH_ONCE = """
if redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then
  redis.call('LPUSH', KEYS[2], ARGV[2])
  return 1
end
return 0
"""


class NotPublished(OperationalError):
    """Celery's broker did not take a message."""

    def __init__(self, text: str, transient: bool = True) -> None:
        super().__init__(text)
        self.transient = transient
        """Whether another attempt within seconds may succeed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.transient)


class Publisher(Protocol):
    """Publishes to one broker. Every thread may use it."""

    def publish(self, call: CeleryCall) -> None:
        """Publish a call. Return when the broker has it. Raise `NotPublished` if the broker does not take it."""


_publishers: dict[tuple[int, str], Publisher] = {}
"""The publishers, by the id of the process and the broker's URL. A forked process makes publishers of its own."""
_lock = threading.Lock()


def publish(call: CeleryCall) -> None:
    """Publish a call to its broker, on the connection that this process keeps."""
    key = (os.getpid(), call.url)
    with _lock:
        publisher = _publishers.get(key)
        if publisher is None:
            publisher = _publishers[key] = _publisher(call.url)
    publisher.publish(call)


if hasattr(os, "register_at_fork"):
    # The parent's other thread may hold the lock at the moment of the fork.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def check_broker(url: str, named_by: str) -> None:
    """Raise `ImproperlyConfigured` if nothing can be published to this broker from here: its kind, or its client."""
    scheme = scheme_of(url)
    if scheme not in (*REDIS_SCHEMES, *AMQP_SCHEMES):
        raise ImproperlyConfigured(
            f"{named_by} = {sanitize_url(url)}: nothing can be published to brokers of this kind; "
            "redis:// and amqp:// can be used"
        )
    client_library("redis" if scheme in REDIS_SCHEMES else "amqp", f"{named_by} = {sanitize_url(url)}")


def _publisher(url: str) -> Publisher:
    return RedisPublisher(url) if scheme_of(url) in REDIS_SCHEMES else AmqpPublisher(url)


class RedisPublisher:
    """Puts messages into the lists of Redis. Its client has a pool of connections."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis = client_library("redis", f"publishing to {sanitize_url(url)}")
        self._client = redis_client(self._redis, url, ANSWER_TIMEOUT)
        self._publish_once = self._client.register_script(PUBLISH_ONCE)

    def publish(self, call: CeleryCall) -> None:
        priority = 0 if call.priority is None else HIGHEST - call.priority  # kombu's Redis takes 0 first
        keys = [MARK + call.id, list_of(call.queue, priority)]
        try:
            self._publish_once(keys=keys, args=[MARK_SECONDS, json.dumps(envelope(call, priority))])
        except self._redis.RedisError as error:
            raise not_published(call, error) from error


def list_of(queue: str, priority: int) -> str:
    """Return the list that kombu reads for messages of this priority, as Redis counts it."""
    step = max(step for step in PRIORITY_STEPS if step <= priority)
    return f"{queue}{PRIORITY_MARK}{step}" if step else queue


def envelope(call: CeleryCall, priority: int) -> dict[str, Any]:
    """Return what kombu puts into a list of Redis for a message."""
    return {
        "body": base64.b64encode(call.body).decode(),
        "content-encoding": call.content_encoding,
        "content-type": call.content_type,
        "headers": call.headers,
        "properties": {
            **call.properties,
            "correlation_id": call.id,
            "reply_to": call.properties.get("reply_to", ""),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": call.queue},
            "priority": priority,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


class AmqpPublisher:
    """Publishes on one channel, one message after the other, and waits for the broker's confirmation of each."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._amqp = client_library("amqp", f"publishing to {sanitize_url(url)}")
        self._lock = threading.Lock()
        self._connection: Any = None
        self._channel: Any = None

    def publish(self, call: CeleryCall) -> None:
        with self._lock:
            try:
                self._publish(call)
            except (self._amqp.AMQPError, OSError) as error:
                self._drop_connection()
                if getattr(error, "reply_code", None) == NO_ROUTE:
                    raise NotPublished(
                        f"the broker at {sanitize_url(call.url)} has no queue {call.queue!r}: start a Celery worker "
                        f"for it, which declares the queue (celery worker -Q {call.queue})",
                        transient=False,
                    ) from error
                raise not_published(call, error) from error

    def _publish(self, call: CeleryCall) -> None:
        if self._channel is None:
            self._connection = amqp_connection(self._amqp, self._url, ANSWER_TIMEOUT, confirm_publish=True)
            self._connection.connect()
            self._channel = self._connection.channel()
        properties = {
            **call.properties,
            "correlation_id": call.id,
            "delivery_mode": 2,
            "content_type": call.content_type,
            "content_encoding": call.content_encoding,
            "application_headers": dict(call.headers),
        }
        if call.priority is not None:
            properties["priority"] = call.priority
        message = self._amqp.basic_message.Message(call.body, **properties)
        self._channel.basic_publish(message, "", call.queue, mandatory=True, confirm_timeout=ANSWER_TIMEOUT)

    def _drop_connection(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.collect()  # closes the socket, without a word to a broker that may not answer


def not_published(call: CeleryCall, error: BaseException) -> NotPublished:
    """Return the error about a broker that did not take a call now."""
    return NotPublished(f"the broker at {sanitize_url(call.url)} can't take {call.task}: {reason_of(error)}")
