"""`app.connection_for_write()` and similar methods: what applications do with a broker connection works here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import transaction

from pyramid_temporal_compat import Celery, chain, group
from pyramid_temporal_compat.as_celery import Unsupported
from pyramid_temporal_compat.exceptions import CeleryError, OperationalError
from tests.client.client_parts import client_app, closed_port, silent_server
from tests.parts import wait_until


@pytest.fixture
def app(temporal_address: str) -> Iterator[Celery]:
    with client_app(temporal_address) as app:
        yield app


NAMES = ["connection", "connection_for_read", "connection_for_write", "broker_connection"]


@pytest.mark.parametrize("name", NAMES)
def test_a_health_check_asks_the_server(app: Celery, name: str) -> None:
    with getattr(app, name)() as connection:
        assert not connection.connected
        assert connection.ensure_connection(max_retries=3) is connection
        assert connection.connected
    assert not connection.connected


def test_a_health_check_fails_without_a_server() -> None:
    told: list[Any] = []
    with client_app(f"127.0.0.1:{closed_port()}") as app, app.connection_for_write() as connection:
        with pytest.raises(OperationalError, match="connection refused"):
            connection.ensure_connection(errback=lambda *args: told.append(args), max_retries=2, interval_start=0)
        assert [round(pause) for _, pause in told] == [0, 2]
        with pytest.raises(OperationalError):
            connection.ensure_connection(timeout=0.1)
        with pytest.raises(OperationalError):
            connection.connect()
        assert not connection.connected


def test_a_health_check_of_a_silent_server_ends_in_time() -> None:
    with silent_server() as address, client_app(address, connect_timeout=0.5) as app, pytest.raises(OperationalError):
        app.connection().ensure_connection(max_retries=1, interval_start=0)


def test_a_health_check_of_an_unknown_namespace_fails(temporal_address: str) -> None:
    with client_app(temporal_address, namespace="moon") as app, pytest.raises(OperationalError, match="moon"):
        app.connection().connect()


def test_a_connection_has_the_address_of_the_server(app: Celery, temporal_address: str) -> None:
    connection = app.connection()
    assert f"{connection.hostname}:{connection.port}" == temporal_address
    assert connection.as_uri() == f"temporal://{temporal_address}/default"
    assert connection.info()["virtual_host"] == "default"


def test_the_length_of_a_queue_is_the_number_of_waiting_tasks(app: Celery) -> None:
    queue = app.conf.task_default_queue
    for number in range(3):
        app.tasks["buy"].delay(number)
    with app.connection_or_acquire() as connection:
        channel = connection.default_channel
        found = wait_until(lambda: (state := channel.queue_declare(queue=queue, passive=True))[1] == 3 and state)
        assert (found.queue, found.message_count, found.consumer_count) == (queue, 3, 0)
        assert channel.queue_purge(queue) == 3


def test_the_length_of_a_queue_counts_each_task_of_a_bundle_and_none_that_was_purged(temporal_address: str) -> None:
    with client_app(temporal_address, bundle=2) as app:
        queue, buy = app.conf.task_default_queue, app.tasks["buy"]
        with transaction.manager:
            results = [buy.delay(number) for number in range(5)]
        group(buy.si(number) for number in range(2)).apply_async()
        chain(buy.si(1), buy.si(2)).apply_async()
        channel = app.connection().default_channel
        assert wait_until(lambda: channel.queue_declare(queue).message_count == 5 + 2 + 1)
        assert channel.queue_purge(queue) == 8
        assert wait_until(lambda: channel.queue_declare(queue).message_count == 0)
        assert {result.state for result in results} == {"REVOKED"}


def test_many_calls_can_share_a_producer(app: Celery) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        first = app.tasks["buy"].apply_async((1,), producer=producer)
    with app.producer_or_acquire() as producer, app.pool.acquire(block=True) as connection:
        second = app.tasks["buy"].apply_async((1,), producer=producer, connection=connection)
    assert first.exists()
    assert second.exists()
    assert producer.connection.ensure_connection().connected
    with app.producer_or_acquire(producer) as same:
        assert same is producer
    with app.default_connection(connection) as same:
        assert same is connection


def test_closing_the_pool_closes_the_connection_until_the_next_call(app: Celery) -> None:
    before = app.temporal
    app.pool.force_close_all()
    assert app.tasks["buy"].delay(1).exists()
    assert app.temporal is not before


def test_sending_messages_of_ones_own_is_refused_with_the_reason(app: Celery) -> None:
    connection = app.connection()
    for use in (
        lambda: connection.SimpleQueue("x"),
        lambda: connection.drain_events(),
        lambda: connection.default_channel.basic_publish("x"),
        lambda: app.producer_pool.acquire().publish({}),
    ):
        with pytest.raises(Unsupported, match=r"There is no broker.*kombu=False"):
            use()
    with pytest.raises(CeleryError, match=r"connection\('amqp://other//'\) names a broker"):
        app.connection("amqp://other//")
