"""Calls for Celery on a real RabbitMQ. `make move-tests` runs these tests: the server needs half a minute to start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import kombu
import pytest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.celery_side.publisher import NotPublished, publish
from pyramid_temporal_compat.message.celery_call import CeleryCall
from pyramid_temporal_compat.message.for_celery import calls_for_celery
from pyramid_temporal_compat.task.call_options import make_message
from tests.migrate.rabbitmq import MISSING, RabbitMQ, is_installed, running_rabbitmq

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not is_installed(), reason=MISSING),
    pytest.mark.skipif("PTEMPORAL_MOVE" not in os.environ, reason="make move-tests runs it: RabbitMQ starts slowly"),
]

QUEUE = "items"
app = Celery("rabbits", set_as_current=False)


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with running_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


def call(url: str, queue: str = QUEUE, **options: Any) -> CeleryCall:
    message = make_message(app, "other.task", (1, "é"), {}, {"queue": queue, "headers": {"tenant": 7}, **options}, None)
    (found,) = calls_for_celery(message, url)
    return found


def taken(url: str) -> kombu.Message:
    """Take the message that waits, as Celery's worker reads it."""
    with kombu.Connection(url) as connection:
        found = connection.default_channel.basic_get(QUEUE, no_ack=True)
        assert found is not None
        return connection.default_channel.message_to_python(found)


def test_a_message_arrives_as_celery_would_have_sent_it(rabbitmq: RabbitMQ) -> None:
    with kombu.Connection(rabbitmq.url) as connection:
        connection.default_channel.queue_declare(QUEUE, durable=True, auto_delete=False)
    made = call(rabbitmq.url, priority=3, app_id="ours")
    publish(made)
    found = taken(rabbitmq.url)
    assert found.payload == [[1, "é"], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    assert found.headers == made.headers
    assert found.headers["tenant"] == 7
    properties = {"correlation_id": made.id, "delivery_mode": 2, "priority": 3, "app_id": "ours"}
    assert properties.items() <= found.properties.items()


def test_a_queue_that_does_not_exist_is_an_error_that_names_it(rabbitmq: RabbitMQ) -> None:
    with pytest.raises(NotPublished, match="has no queue 'missing': start a Celery worker") as raised:
        publish(call(rabbitmq.url, "missing"))
    assert not raised.value.transient


def test_a_broker_that_was_away_gets_the_next_call_on_a_new_connection(rabbitmq: RabbitMQ) -> None:
    publish(call(rabbitmq.url))
    rabbitmq.kill()
    with pytest.raises(NotPublished, match=r"can't take other\.task") as raised:
        publish(call(rabbitmq.url))
    assert raised.value.transient
    rabbitmq.start()
    made = call(rabbitmq.url)
    publish(made)
    assert {taken(rabbitmq.url).headers["id"] for _ in range(2)} >= {made.id}
