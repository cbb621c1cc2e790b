"""Reads a broker that speaks AMQP, such as RabbitMQ.

RabbitMQ shows a message only by giving it out. The messages that are read here are given back at once, at their place,
with the mark that they were delivered before.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..celery_side.clients import amqp_connection, client_library, unreachable
from .broker_messages import Broker, BrokerQueue, described, queues_of_tasks

MOST_TAKEN = 200
"""Messages of one queue that are read: the server gives each of them out and takes it back."""


def read(url: str, queues: Collection[str]) -> Broker:
    """Return the queues that are named, and `celery`: AMQP has no list of queues."""
    amqp = client_library("amqp", "--broker amqp://…")
    connection = amqp_connection(amqp, url)
    try:
        connection.connect()
        return Broker(url, [_queue(connection, name, amqp.NotFound) for name in queues_of_tasks(queues)])
    except (amqp.AMQPError, OSError) as error:
        raise unreachable("broker", url, error) from None
    finally:
        connection.close()


def _queue(connection: Any, name: str, not_found: type[Exception]) -> BrokerQueue:
    queue = BrokerQueue(name)
    channel = connection.channel()
    try:
        queue.length = channel.queue_declare(name, passive=True).message_count
    except not_found:
        return queue  # the server has closed the channel
    try:
        for _ in range(min(queue.length, MOST_TAKEN)):
            message = channel.basic_get(name)
            if message is None:
                break
            body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
            properties = message.properties
            content_type = str(properties.get("content_type") or "")
            queue.add(described(body, content_type, properties.get("application_headers"), properties))
    finally:
        channel.close()  # gives back what was taken
    return queue
