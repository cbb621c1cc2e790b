"""The bridge's hands on Celery's broker: a process of its own, with the real kombu.

The bridge has loaded the application, and there `import kombu` may mean this package. So another process has the
broker: `python -m pyramid_temporal_compat.migrate.carrier`. It reads its orders from stdin and writes to stdout, a JSON
object a line. Nothing here decodes a message: its body travels as bytes, in base64.

orders   {"ack": tag}  {"keep": tag}  {"count": true}  {"end": true}
answers  {"ready": true}  {"message": {…}}  {"waiting": {queue: number}, "unacked": number}  {"error": text}

A message that is neither acknowledged nor kept when this process ends goes back to its queue, as kombu does it for a
worker that ends. `keep` says that the message can't be carried: it goes back at the end, and not at once, or the broker
would send it again and again.
"""

from __future__ import annotations

import base64
import contextlib
import json
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

DRAIN = 0.1
"""Seconds for which one look at the broker waits."""


class Carrier:
    """Takes messages from a broker, and acknowledges them when told to. Belongs to the main thread."""

    def __init__(self, kombu: Any, url: str, queues: Sequence[str], prefetch: int, options: Mapping[str, Any]) -> None:
        self._connection = kombu.Connection(url, transport_options=dict(options))
        self._channel = self._connection.default_channel
        self._queues = list(queues)
        self._held: dict[str, Any] = {}
        self._orders: queue.Queue[dict[str, Any]] = queue.Queue()
        self._ended = False
        self._channel.basic_qos(0, prefetch, False)
        # One consumer for each queue: then a message is known by the queue that it came from.
        self._consumers = [
            kombu.Consumer(
                self._channel,
                [kombu.Queue(name, channel=self._channel, no_declare=True)],
                on_message=lambda message, name=name: self._received(name, message),
                accept=None,
                auto_declare=False,
            )
            for name in self._queues
        ]

    def run(self) -> None:
        """Carry until told to end, or until stdin closes."""
        threading.Thread(target=self._read_orders, daemon=True).start()
        tell({"ready": True})
        for consumer in self._consumers:
            consumer.consume()
        while not self._ended:
            with contextlib.suppress(TimeoutError):
                self._connection.drain_events(timeout=DRAIN)
            while not self._orders.empty():
                self._obey(self._orders.get())
        for consumer in self._consumers:
            consumer.cancel()
        for message in self._held.values():  # in the order in which they came
            message.requeue()
        self._connection.close()

    def _received(self, name: str, message: Any) -> None:
        tag = str(message.delivery_tag)
        self._held[tag] = message
        body = message.body
        tell(
            {
                "message": {
                    "tag": tag,
                    "queue": name,
                    "body": base64.b64encode(body.encode() if isinstance(body, str) else bytes(body)).decode(),
                    "content_type": message.content_type,
                    "content_encoding": message.content_encoding,
                    "headers": message.headers,
                    "properties": message.properties,
                    "delivery_info": message.delivery_info,
                }
            }
        )

    def _obey(self, order: dict[str, Any]) -> None:
        if "ack" in order:
            self._held.pop(order["ack"]).ack()
        elif "count" in order:
            tell({"waiting": {name: self._length(name) for name in self._queues}, "unacked": self._unacked()})
        elif "end" in order:
            self._ended = True

    def _length(self, name: str) -> int:
        if hasattr(self._channel, "_size"):  # a virtual transport of kombu's: it declares no queue that exists already
            return int(self._channel._size(name))
        return int(self._channel.queue_declare(name, passive=True).message_count)

    def _unacked(self) -> int:
        """Return how many messages consumers hold: on Redis, where a hash has them. Others don't say."""
        channel: Any = self._channel
        if not hasattr(channel, "unacked_key"):
            return 0
        with channel.conn_or_acquire() as client:  # not `channel.client`, which waits for the answer to a BRPOP
            return int(client.hlen(channel.unacked_key))

    def _read_orders(self) -> None:
        for line in sys.stdin:
            self._orders.put(json.loads(line))
        self._orders.put({"end": True})


def tell(answer: dict[str, Any]) -> None:
    """Write one answer."""
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Carry for the bridge, which has written what to do into the first line of stdin."""
    asked = json.loads(sys.stdin.readline())
    try:
        import kombu
    except ModuleNotFoundError:
        tell({"error": "kombu is not installed: pip install 'pyramid-temporal-compat[bridge]'"})
        raise SystemExit(1) from None
    try:
        Carrier(kombu, asked["url"], asked["queues"], asked["prefetch"], asked["options"]).run()
    except Exception as error:
        tell({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"})
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
