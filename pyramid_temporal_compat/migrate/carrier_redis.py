"""The carrier's queues in Redis, as kombu keeps them: a list for each queue and priority.

kombu takes a message from its list, and then writes it into the hash `unacked`. A kill between the two steps loses it.
A script of Redis does both at once here. What it writes is what kombu writes, so Celery's workers give a message of a
bridge that is gone back after the visibility timeout. And the message's own bytes stay in it, so a bridge gives them
back unchanged.

The tag of a message in `unacked` names the session that took it. Each session has a key that expires. So a bridge finds
the messages that a killed one has left, and gives them back.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import redis

from ..payload.bounds import MOST_BYTES, read_json
from .broker_messages import BrokerMessage, queues_of_tasks, read_message

PREFIX = "ptemporal-bridge"
ALIVE = 15
"""Seconds after which a session that says nothing counts as gone."""
SWEEP = 5
"""Seconds between two signs of life, and between two looks for messages that nobody holds any more."""
LISTING = 10.0
"""Seconds between two looks at all keys for the names of queues."""
MOST_READ = 10_000
"""Messages of `unacked` that are read for their ETA."""

TAKE = """
local taken, number = {}, tonumber(ARGV[3])
local lists = #KEYS - 2
for at = 1, lists do
  while #taken / 2 < tonumber(ARGV[4]) do
    local raw = redis.call('LINDEX', KEYS[at + 2], -1)
    if not raw then break end
    number = number + 1
    local suffix = ARGV[4 + at]
    local tag = ARGV[1] .. ':' .. number .. ':' .. #suffix .. ':' .. ARGV[4 + lists + at]
    redis.call('HSET', KEYS[1], tag, '[' .. raw .. suffix)
    redis.call('ZADD', KEYS[2], ARGV[2], tag)
    redis.call('RPOP', KEYS[at + 2])
    taken[#taken + 1] = tag
    taken[#taken + 1] = raw
  end
end
return taken
"""
"""Take messages from the right ends of lists. The last step takes it, so an error before loses nothing."""

GIVE_BACK = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held then
  redis.call('RPUSH', KEYS[3], string.sub(held, 2, -1 - tonumber(ARGV[2])))
  redis.call('HDEL', KEYS[1], ARGV[1])
end
redis.call('ZREM', KEYS[2], ARGV[1])
"""
"""Put a message back to the right end of its list, where it came from. Do nothing if another one has it by now."""


class RedisQueues:
    """Queues of a broker in Redis. Implements `carrier.Queues`. Without names, it counts the queues that it finds."""

    def __init__(self, channel: Any, names: Sequence[str], former: Sequence[str]) -> None:
        self._channel, self._names = channel, list(names)
        self._prefix = channel.global_keyprefix or ""
        self._redis = redis.Redis(connection_pool=channel.pool)
        self.session = uuid.uuid4().hex
        self._number = self._turn = 0
        self._held: set[str] = set()
        self._swept = 0.0
        self._listed: list[str] = []
        self._listed_at = -LISTING
        self._take = self._redis.register_script(TAKE)
        self._give_back = self._redis.register_script(GIVE_BACK)
        self._say_alive()
        for session in former:
            self._redis.delete(self._alive_key(session))
        self._sweep()

    def about(self) -> dict[str, Any]:
        # By default an exchange of Celery's has the name of its queue. Other bindings take a look at all keys.
        exchange = self._prefix + self._channel.keyprefix_queue
        missing = [name for name in self._names if not self._length(name) and not self._redis.exists(exchange % name)]
        known = self._known() if missing else ()
        unknown = [name for name in missing if name not in known]
        return {"session": self.session, "unknown": unknown, "known": known}

    def take(self, most: int) -> list[dict[str, Any]]:
        self._sweep_now_and_then()
        self._turn += 1
        turn = self._turn % len(self._names)
        names = self._names[turn:] + self._names[:turn]  # each queue comes first in its turn
        lists = self._lists(names)
        suffixes = [f", {json.dumps('')}, {json.dumps(name)}]" for name, _ in lists]
        found = self._take(
            keys=[*self._unacked_keys, *(self._prefix + key for _, key in lists)],
            args=[self._tag, time.time(), self._number, most, *suffixes, *(key for _, key in lists)],
        )
        taken = [self._taken(tag.decode(), raw) for tag, raw in zip(found[::2], found[1::2], strict=True)]
        self._number += len(taken)
        return taken

    def _taken(self, tag: str, raw: bytes) -> dict[str, Any]:
        self._held.add(tag)
        key = tag.split(":", 4)[4]
        queue = next(name for name, of_queue in self._lists(self._names) if of_queue == key)
        told = {"tag": tag, "queue": queue, "size": len(raw)}
        return told if len(raw) > MOST_BYTES else {**told, "envelope": base64.b64encode(raw).decode()}

    def ack(self, tags: Sequence[str]) -> None:
        if tags:
            unacked, index = self._unacked_keys
            with self._redis.pipeline() as pipe:
                pipe.hdel(unacked, *tags)
                pipe.zrem(index, *tags)
                pipe.execute()
            self._held.difference_update(tags)

    def give_back(self, tags: Iterable[str]) -> None:
        # The message that was taken last goes back first: then the first one is at the end of the list again.
        for tag in sorted(tags, key=lambda tag: int(tag.split(":", 3)[2]), reverse=True):
            _, _, _, size, key = tag.split(":", 4)
            self._give_back(keys=[*self._unacked_keys, self._prefix + key], args=[tag, size])
            self._held.discard(tag)

    def give_back_all(self) -> None:
        self.give_back(list(self._held))
        self._redis.delete(self._alive_key(self.session))

    def count(self) -> dict[str, Any]:
        self._sweep_now_and_then()
        unacked = self._redis.hlen(self._unacked_keys[0])
        others = unacked - len(self._held)
        claims = [tag for tag in self._claims() if tag not in self._held] if others else []
        ours = {key for _, key in self._lists(self._names)}
        return {
            "waiting": {name: self._length(name) for name in self._names or self._known()},
            "unacked": max(0, others - len(claims)),
            "claimed": sum(1 for tag in claims if not ours or tag.split(":", 4)[4] in ours),
        }

    def held(self) -> dict[str, Any]:
        """Return what Celery's workers hold, by the queue it came from, with the farthest ETA."""
        etas, by_queue, mine = [], Counter[str](), set(self._claims())
        for number, (tag, raw) in enumerate(self._redis.hscan_iter(self._unacked_keys[0], count=200)):
            if number >= MOST_READ:
                break
            if _text(tag) in mine:
                continue
            message, queue = _held_message(raw)
            by_queue[queue] += 1
            if message is not None and message.eta is not None:
                etas.append(message.eta)
        return {
            "by_queue": by_queue,
            "farthest": max(etas).isoformat() if etas else None,
            "visibility_timeout": self._channel.visibility_timeout,
        }

    # --- parts -------------------------------------------------------------------------------------------

    def _lists(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return the lists of these queues, each with its queue. Those of the highest priority come first."""
        steps = self._channel.priority_steps
        return [(name, self._channel._q_for_pri(name, step)) for step in steps for name in names]

    @property
    def _tag(self) -> str:
        return f"{PREFIX}:{self.session}"

    @property
    def _unacked_keys(self) -> tuple[str, str]:
        return self._prefix + self._channel.unacked_key, self._prefix + self._channel.unacked_index_key

    def _alive_key(self, session: str) -> str:
        return f"{self._prefix}{PREFIX}:{session}"

    def _say_alive(self) -> None:
        self._redis.set(self._alive_key(self.session), "", ex=ALIVE)

    def _sweep_now_and_then(self) -> None:
        if time.monotonic() - self._swept > SWEEP:
            self._say_alive()
            self._sweep()

    def _sweep(self) -> None:
        """Give back what bridges that are gone have left, and what Celery's workers hold for too long."""
        self._swept = time.monotonic()
        gone: dict[str, list[str]] = {}
        for tag in self._claims():
            gone.setdefault(tag.split(":", 2)[1], []).append(tag)
        for session, tags in gone.items():
            if session != self.session and not self._redis.exists(self._alive_key(session)):
                self.give_back(tags)
        if hasattr(self._channel.qos, "restore_visible"):
            self._channel.qos.restore_visible(num=self._channel.unacked_restore_limit, interval=1)

    def _claims(self) -> Iterator[str]:
        """Yield the tags of messages that bridges have taken."""
        for tag, _ in self._redis.hscan_iter(self._unacked_keys[0], match=f"{PREFIX}:*:*:*:*", count=500):
            yield _text(tag)

    def _length(self, name: str) -> int:
        return sum(self._redis.llen(self._prefix + key) for _, key in self._lists([name]))

    def _known(self) -> list[str]:
        """Return the names of the queues that kombu has bound in this Redis, without Celery's own ones."""
        if time.monotonic() - self._listed_at > LISTING:
            self._listed_at = time.monotonic()
            self._listed = self._bound()
        return self._listed

    def _bound(self) -> list[str]:
        found: set[str] = set()
        pattern = self._prefix + self._channel.keyprefix_queue % "*"
        for key in self._redis.scan_iter(pattern, count=500, _type="set"):
            for member in self._redis.smembers(key):
                found.add(_text(member).rpartition(self._channel.sep)[2])
        return [name for name in queues_of_tasks(found) if name in found or self._length(name)]


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("utf-8", "replace")


def _held_message(raw: bytes) -> tuple[BrokerMessage | None, str]:
    """Return a message of `unacked`, and its routing key, which is the name of its queue as a rule."""
    try:
        envelope, _, routing_key = read_json(raw)
    except (ValueError, RecursionError, TypeError):
        return None, ""
    return read_message(envelope), str(routing_key)
