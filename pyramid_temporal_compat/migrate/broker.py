"""Counts what waits in a live broker of Celery's, and leaves it there: Redis, and RabbitMQ.

An application on Celery has the clients `redis` and `amqp`. These modules do not use kombu, because `import kombu` may
mean this package after the application has been loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from ..celery_names.urls import sanitize_url
from ..celery_side.clients import AMQP_SCHEMES, REDIS_SCHEMES, scheme_of
from ..exceptions import ImproperlyConfigured
from ..settings.table import SETTINGS
from . import broker_amqp, broker_redis
from .broker_messages import Broker, BrokerQueue
from .findings import Finding
from .rules import RULES, Severity

JSON_TYPES = frozenset({"application/json", "application/data"})
REDIS_PRIORITIES = (
    "In Redis, priority 0 goes first. Here 9 goes first, so turn the numbers of your calls around. "
    "`migrate bridge` keeps the order of what it carries."
)
SHOWN = 5
"""Values of a list in a finding: the most frequent ones."""


def look_into(url: str, queues: Collection[str] = (), known: Collection[str] = ()) -> list[Finding]:
    """Return what waits in the broker at `url`. `known` are the names of the tasks that the code has."""
    scheme = scheme_of(url)
    if scheme in REDIS_SCHEMES:
        broker = broker_redis.read(url, queues)
    elif scheme in AMQP_SCHEMES:
        broker = broker_amqp.read(url, queues)
    else:
        raise ImproperlyConfigured(
            f"--broker {sanitize_url(url)}: brokers of this kind can't be read; redis:// and amqp:// can"
        )
    return [
        *(finding for queue in broker.queues for finding in _of_queue(broker, queue)),
        *_of_unacked(broker),
        *_of_tasks(broker, known),
    ]


def _found(broker: Broker, code: str, detail: str, sentence: str = "", severity: Severity | None = None) -> Finding:
    return Finding(RULES[code], sanitize_url(broker.url), 0, detail, sentence, severity_here=severity)


def _of_queue(broker: Broker, queue: BrokerQueue) -> Iterator[Finding]:
    nothing = None if queue.length else Severity.NOTHING
    yield _found(broker, "PTC901", f"{queue.name} holds {queue.length} messages{_age(queue)}", severity=nothing)
    limit = SETTINGS["ptemporal.payload_limit"].default
    sizes = sorted(each.size for each in queue.messages)
    if sizes:
        detail = f"{queue.name}: {sizes[len(sizes) // 2]} bytes usually, {sizes[-1]} at most"
        too_large = sizes[-1] > limit
        fine = f"The limit is {limit} bytes (`ptemporal.payload_limit`), so all of these can be sent."
        yield _found(broker, "PTC902", detail, "" if too_large else fine, None if too_large else Severity.NOTHING)
    types = Counter(each.content_type for each in queue.messages)
    if set(types) - JSON_TYPES:
        yield _found(broker, "PTC903", f"{queue.name}: {_listed(types)}")
    yield from _waiting(broker, queue)
    priorities = Counter(str(each.priority) for each in queue.messages if each.priority)
    if priorities:
        turned = REDIS_PRIORITIES if scheme_of(broker.url) in REDIS_SCHEMES else ""
        severity = Severity.CHANGES if turned else None
        yield _found(broker, "PTC906", f"{queue.name}: {_listed(priorities)}", turned, severity)
    if queue.unreadable:
        yield _found(broker, "PTC909", f"{queue.name}: {queue.unreadable} messages")


def _age(queue: BrokerQueue) -> str:
    sent = [each.sent for each in queue.messages if each.sent is not None]
    if not queue.length:
        return ""
    if not sent:
        return "; how old they are is not known, because they carry no time"
    return f"; the oldest was sent {min(sent):%Y-%m-%d %H:%M} UTC"


def _of_unacked(broker: Broker) -> Iterator[Finding]:
    held = broker.unacked
    if not held.length:
        return
    since = f", the first since {broker.oldest_unacked:%Y-%m-%d %H:%M} UTC" if broker.oldest_unacked else ""
    yield _found(broker, "PTC905", f"{held.length} messages{since}")
    yield from _waiting(broker, held)


def _waiting(broker: Broker, queue: BrokerQueue) -> Iterator[Finding]:
    if times := [each.eta for each in queue.messages if each.eta is not None]:
        detail = f"{queue.name}: {len(times)} with an ETA, the farthest {max(times):%Y-%m-%d %H:%M} UTC"
        yield _found(broker, "PTC904", detail)


def _of_tasks(broker: Broker, known: Collection[str]) -> Iterator[Finding]:
    """Yield a finding for each task of the broker that the code does not have. A short name may be written there."""
    names = Counter(each.task for queue in (*broker.queues, broker.unacked) for each in queue.messages)
    short = {name.rpartition(".")[2] for name in known}
    for name, number in names.most_common():
        if known and name not in known and name.rpartition(".")[2] not in short and not name.startswith("celery."):
            yield _found(broker, "PTC907", f"{name}, {number} messages")


def _listed(counts: Counter[str]) -> str:
    parts = [f"{number} of {name or 'none'}" for name, number in counts.most_common(SHOWN)]
    return ", ".join(parts)
