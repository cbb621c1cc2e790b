"""The carrier's queues in brokers that give a message back by themselves: RabbitMQ, and others through kombu."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from kombu.exceptions import ChannelError

from ..payload.bounds import MOST_BYTES, is_deeper

NOT_FOUND = 404
DEEPEST = 100
"""Levels of lists and dicts in the headers of a message."""


class KombuQueues:
    """Queues of a channel of kombu's. Implements `carrier.Queues`."""

    def __init__(self, channel: Any, names: Sequence[str]) -> None:
        self._channel, self._names = channel, list(names)
        self._is_virtual = hasattr(channel, "_size")  # a transport that kombu makes of something else than AMQP
        self._to_kombu = getattr(channel, "message_to_python", lambda message: message)
        self._held: dict[str, Any] = {}
        """The delivery tags of the broker, by their texts, in the order in which the messages were taken."""

    def about(self) -> dict[str, Any]:
        unknown = [name for name in self._names if not self._is_there(name)]
        return {"session": "", "unknown": unknown, "known": []}

    def take(self, most: int) -> list[dict[str, Any]]:
        taken: list[dict[str, Any]] = []
        waiting = list(self._names)
        while waiting and len(taken) < most:
            for name in tuple(waiting):  # one message of each queue in turn
                message = self._channel.basic_get(name, no_ack=False) if len(taken) < most else None
                if message is None:
                    waiting.remove(name)
                else:
                    taken.append(self._taken(name, self._to_kombu(message)))
        return taken

    def _taken(self, name: str, message: Any) -> dict[str, Any]:
        tag = str(message.delivery_tag)
        self._held[tag] = message.delivery_tag
        told = {"tag": tag, "queue": name, "size": len(message.body or b"")}
        if is_deeper([message.headers, message.properties], DEEPEST):
            return {**told, "problem": f"its headers are nested in more than {DEEPEST} levels"}
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body or b"")
        return {
            **told,
            **({} if len(body) > MOST_BYTES else {"body": base64.b64encode(body).decode()}),
            "content_type": message.content_type,
            "content_encoding": message.content_encoding,
            "headers": message.headers,
            "properties": message.properties,
        }

    def ack(self, tags: Sequence[str]) -> None:
        for tag in tags:
            self._channel.basic_ack(self._held.pop(tag))

    def give_back(self, tags: Sequence[str]) -> None:
        for tag in sorted(tags, key=list(self._held).index, reverse=True):
            self._channel.basic_reject(self._held.pop(tag), requeue=True)

    def give_back_all(self) -> None:
        self.give_back(list(self._held))

    def count(self) -> dict[str, Any]:
        return {"waiting": {name: self._length(name) for name in self._names}, "unacked": 0, "claimed": 0}

    def held(self) -> dict[str, Any]:
        return {}

    def _is_there(self, name: str) -> bool:
        if self._is_virtual:
            return bool(self._channel._has_queue(name))
        asking = (
            self._channel.connection.channel()
        )  # the server closes a channel that asks for a queue that is not there
        try:
            asking.queue_declare(name, passive=True)
        except ChannelError as error:
            if getattr(error, "code", None) != NOT_FOUND:
                raise
            return False
        asking.close()
        return True

    def _length(self, name: str) -> int:
        if self._is_virtual:
            return int(self._channel._size(name))
        return int(self._channel.queue_declare(name, passive=True).message_count)
