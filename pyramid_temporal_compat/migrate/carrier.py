"""The bridge's hands on Celery's broker: a process of its own, with the real kombu.

The bridge has loaded the application, and there `import kombu` may mean this package. So another process has the
broker: `python -m pyramid_temporal_compat.migrate.carrier`. It reads orders from stdin and writes one answer to each, a
JSON object a line. The first line of stdin says what to open. Nothing here decodes a message: a message travels as
bytes, in base64.

| order | answer |
| --- | --- |
| what to open | `{"ready": true, …}` |
| `{"take": number}` | `{"messages": […]}`, at most so many |
| `{"ack": [tags]}` | `{}`: these messages are gone from the broker |
| `{"give_back": [tags]}` | `{}`: these messages are where they were |
| `{"count": true}` | `{"waiting": {queue: number}, "unacked": number, "claimed": number}` |
| `{"held": true}` | `{"held": {…}}`: what Celery's workers hold |
| anything that fails | `{"error": text}`, and the process ends |

At the end of stdin, also after a kill of the bridge, all messages that are taken and not acknowledged go back.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..log_lines.text_safety import one_line
from .broker_messages import DEFAULT_QUEUE
from .celery_workers import ask_workers

CONNECT_TIMEOUT, ANSWER_TIMEOUT = 10, 30
"""Seconds."""


class Queues(Protocol):
    """The queues of a broker, as one kind of broker has them."""

    def about(self) -> dict[str, Any]:
        """Return what the bridge has to know at the start: `session`, and `unknown` with the names of no queue."""

    def take(self, most: int) -> list[dict[str, Any]]: ...

    def ack(self, tags: Sequence[str]) -> None: ...

    def give_back(self, tags: Sequence[str]) -> None: ...

    def give_back_all(self) -> None: ...

    def count(self) -> dict[str, Any]: ...

    def held(self) -> dict[str, Any]:
        """Return what the broker says about messages that consumers hold; an empty dict if it says nothing."""


def open_queues(connection: Any, names: Sequence[str], former: Sequence[str]) -> Queues:
    """Return the queues of a connection of kombu's.

    :param former: the sessions of carriers of the same bridge that were killed.
    """
    channel = connection.default_channel
    if hasattr(channel, "unacked_key"):  # kombu's transport for Redis, also through Sentinel
        from .carrier_redis import RedisQueues  # imports redis, which only this broker needs

        return RedisQueues(channel, names, former)
    from .carrier_kombu import KombuQueues  # imports kombu, which the bridge's own process must not do

    return KombuQueues(channel, names or [DEFAULT_QUEUE])


def answer(connection: Any, queues: Queues, order: Mapping[str, Any]) -> dict[str, Any]:
    """Obey one order."""
    if "take" in order:
        return {"messages": queues.take(int(order["take"]))}
    if "ack" in order:
        queues.ack(order["ack"])
    elif "give_back" in order:
        queues.give_back(order["give_back"])
    elif "count" in order:
        return queues.count()
    elif "held" in order:
        return {"held": {**queues.held(), "workers": ask_workers(connection)}}
    return {}


def obey(kombu: Any, asked: Mapping[str, Any]) -> None:
    """Open the broker, and obey the orders on stdin until it ends."""
    connection = kombu.Connection(
        asked["url"],
        ssl=asked.get("ssl") or None,
        connect_timeout=CONNECT_TIMEOUT,
        transport_options={**timeouts_of(asked["url"]), **asked["options"]},
    )
    with connection:
        connection.ensure_connection(max_retries=1, timeout=CONNECT_TIMEOUT)
        queues = open_queues(connection, asked["queues"], asked.get("former") or ())
        tell({"ready": True, **queues.about()})
        try:
            for line in sys.stdin:
                tell(answer(connection, queues, json.loads(line)))
        finally:
            queues.give_back_all()


def timeouts_of(url: str) -> dict[str, Any]:
    """Return transport options that end a wait for a broker that has gone without closing the connection."""
    if url.startswith(("redis", "sentinel")):
        return {"socket_timeout": ANSWER_TIMEOUT, "socket_connect_timeout": CONNECT_TIMEOUT}
    return {"read_timeout": ANSWER_TIMEOUT, "write_timeout": ANSWER_TIMEOUT} if "amqp" in url.partition(":")[0] else {}


def tell(told: Mapping[str, Any]) -> None:
    """Write one answer."""
    sys.stdout.write(json.dumps(told, default=str) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Carry for the bridge. The end of stdin ends this process, and no signal does: it has messages to give back."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    asked = json.loads(sys.stdin.readline())
    try:
        import kombu
    except ModuleNotFoundError:
        tell({"error": "it needs kombu: pip install 'pyramid-temporal-compat[bridge]'"})
        raise SystemExit(1) from None
    try:
        obey(kombu, asked)
    except Exception as error:  # the bridge says it in one line
        tell({"error": one_line(f"{type(error).__name__}: {error}")})
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
