"""Reads a broker in Redis. It only reads: no message moves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator
from typing import Any

from ..celery_side.clients import client_library, redis_client, unreachable
from ..celery_side.publisher import PRIORITY_MARK
from ..payload.bounds import read_json
from .broker_messages import Broker, BrokerQueue, queues_of_tasks, read_message

MOST_READ = 10_000
"""Messages of one list that are read. Those behind them are only counted."""
BATCH = 500
PRIORITIES = range(1, 10)
BINDING = "_kombu.binding."


def read(url: str, queues: Collection[str]) -> Broker:
    """Return the queues of a Redis: the named queues, the queues that kombu has bound, and `celery`."""
    redis = client_library("redis", "--broker redis://…")
    client = redis_client(redis, url)
    try:
        names = queues_of_tasks([*queues, *_bound(client)])
        broker = Broker(url, [_queue(client, name) for name in names])
        _read_unacked(client, broker)
        return broker
    except redis.RedisError as error:
        raise unreachable("broker", url, error) from None
    finally:
        client.close()


def _bound(client: Any) -> Iterator[str]:
    """Yield the names of the queues that kombu has bound. A member is routing key, pattern and queue."""
    for key in client.scan_iter(f"{BINDING}*", count=BATCH):
        for member in client.smembers(key):
            yield member.decode("utf-8", "replace").rpartition(PRIORITY_MARK)[2]


def _queue(client: Any, name: str) -> BrokerQueue:
    """Return one queue. Each priority above 0 has a list of its own."""
    queue = BrokerQueue(name)
    for key in [name, *(f"{name}{PRIORITY_MARK}{priority}" for priority in PRIORITIES)]:
        length = client.llen(key)
        queue.length += length
        for start in range(0, min(length, MOST_READ), BATCH):
            for raw in client.lrange(key, start, start + BATCH - 1):
                queue.add(read_message(_decoded(raw)))
    return queue


def _read_unacked(client: Any, broker: Broker) -> None:
    """Read what workers hold: a hash of messages, and the times at which they got them."""
    broker.unacked.length = client.hlen("unacked")
    for number, (_, raw) in enumerate(client.hscan_iter("unacked", count=BATCH)):
        if number >= MOST_READ:
            break
        held = _decoded(raw)
        broker.unacked.add(read_message(held[0] if isinstance(held, list) and held else None))
    first = client.zrange("unacked_index", 0, 0, withscores=True)
    if first:
        broker.oldest_unacked = dt.datetime.fromtimestamp(first[0][1], dt.timezone.utc)


def _decoded(raw: bytes) -> Any:
    try:
        return read_json(raw)
    except (ValueError, RecursionError):
        return None
