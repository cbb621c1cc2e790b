"""The bridge on a real RabbitMQ. `make move-tests` runs these tests, because the server starts slowly."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import kombu
import pytest

from pyramid_temporal_compat import states
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.migrate.bridge import Bridge
from pyramid_temporal_compat.migrate.carrier_process import BrokerAddress, CarrierLost
from pyramid_temporal_compat.migrate.drain import Drain
from tests.migrate import bridge_app
from tests.migrate.bridge_parts import (
    CHORD,
    QUEUE,
    all_ran_once,
    carriers,
    carry,
    envelope,
    id_of,
    in_move_tests,
    produce,
    standing,
)
from tests.migrate.rabbitmq import MISSING, RabbitMQ, is_installed, running_rabbitmq
from tests.parts import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not is_installed(), reason=MISSING),
    in_move_tests,
]


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with running_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture
def broker(rabbitmq: RabbitMQ) -> BrokerAddress:
    with kombu.Connection(rabbitmq.url) as connection:
        channel = connection.default_channel
        channel.queue_declare(QUEUE, durable=True, auto_delete=False)
        channel.queue_purge(QUEUE)
    return BrokerAddress(rabbitmq.url)


def send(url: str, *messages: bytes) -> None:
    with kombu.Connection(url) as connection:
        for message in messages:
            found = json.loads(message)
            connection.Producer().publish(
                base64.b64decode(found["body"]),
                routing_key=QUEUE,
                content_type="application/json",
                content_encoding="utf-8",
                headers=found["headers"],
                correlation_id=found["headers"]["id"],
                delivery_mode=2,
            )


def waiting(url: str) -> list[Any]:
    """Take all messages of the queue."""
    with kombu.Connection(url) as connection:
        return list(iter(lambda: connection.default_channel.basic_get(QUEUE, no_ack=True), None))


def length(url: str) -> int:
    with kombu.Connection(url) as connection:
        return int(connection.default_channel.queue_declare(QUEUE, passive=True).message_count)


def test_messages_of_a_real_producer_run_here_once(running: Any, broker: BrokerAddress) -> None:
    sent = produce(broker.url, 8)
    assert carry(running, broker).started.total() == 11
    for kind, id in sent:
        if kind == "expired":  # RabbitMQ has dropped it
            continue
        result = running.AsyncResult(id)
        wait_until(result.ready)
        assert (result.state, bridge_app.ran[id]) == (states.SUCCESS, 1), kind
    assert running.AsyncResult(dict(sent)["chain"]).get(timeout=30) == 36
    assert length(broker.url) == 0


def test_what_can_not_be_carried_is_left_in_its_order(running: Any, broker: BrokerAddress) -> None:
    kept = [envelope(embed=CHORD), envelope("shop.gone"), envelope(embed=CHORD)]
    send(broker.url, kept[0], envelope(), kept[1], envelope(), kept[2])
    carried = carry(running, broker)
    assert (carried.started.total(), len(carried.kept)) == (2, 3)
    wait_until(lambda: length(broker.url) == 3)
    assert [message.properties["correlation_id"] for message in waiting(broker.url)] == [id_of(each) for each in kept]


def test_bridge_goes_on_after_kills_of_its_carrier_and_of_the_broker(
    running: Any, broker: BrokerAddress, rabbitmq: RabbitMQ
) -> None:
    messages = [envelope() for _ in range(90)]
    send(broker.url, *messages[:60])
    with standing(running, broker) as bridge:
        wait_until(lambda: bridge.carried.started.total() > 5)
        [carrier] = carriers()
        carrier.kill()
        wait_until(lambda: bridge.carried.started.total() > 20)
        rabbitmq.kill()
        rabbitmq.start()
        send(broker.url, *messages[60:])
        wait_until(lambda: length(broker.url) == 0 and bridge.carried.started.total() >= 90)
    all_ran_once(messages)


def test_wrong_queues_and_passwords_are_told_in_one_line(running: Any, broker: BrokerAddress) -> None:
    with pytest.raises(ImproperlyConfigured, match="has no queue nowhere: see -Q"):
        Bridge(running, broker, ["nowhere"]).run()
    wrong = BrokerAddress(broker.url.replace("guest:guest", "guest:secret"))
    with pytest.raises(CarrierLost, match=r"ACCESS_REFUSED|AccessRefused") as caught:
        Bridge(running, wrong, [QUEUE]).run()
    assert "secret" not in str(caught.value)


def test_drain_tells_what_waits(broker: BrokerAddress) -> None:
    send(broker.url, envelope(), envelope())
    drain = Drain(broker, [QUEUE])
    try:
        assert drain.look().waiting == {QUEUE: 2}
        assert drain.look().total == 2
        assert len(waiting(broker.url)) == 2
        assert drain.look().total == 0
    finally:
        drain.close()
