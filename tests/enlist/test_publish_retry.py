"""`retry` and `retry_policy` say how often a message is attempted while the server is away."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import transaction
from temporalio.service import RPCError, RPCStatusCode

from pyramid_temporal_compat import Celery, signals
from pyramid_temporal_compat.enlist import dispatcher
from pyramid_temporal_compat.exceptions import InvalidCall, OperationalError
from pyramid_temporal_compat.message.backoff import PublishRetry, publish_retry_of
from pyramid_temporal_compat.server import EmbeddedServer
from tests.client.client_parts import client_app, closed_port, started


@pytest.fixture
def app(temporal_address: str) -> Any:
    with client_app(temporal_address, dispatch_timeout=10) as app:
        yield app


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The attempts to reach the server, which is away."""
    ids: list[str] = []

    async def refuse(client: Any, message: Any, now: Any = None) -> None:
        ids.append(message.id)
        raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")

    monkeypatch.setattr(dispatcher, "start", refuse)
    return ids


QUICK = {"interval_start": 0, "interval_step": 0, "interval_max": 0}


@pytest.mark.parametrize(
    ("settings", "options", "times"),
    [
        ({}, {"retry": False}, 1),
        ({"task_publish_retry": False}, {}, 1),
        ({"task_publish_retry": False}, {"retry": True, "retry_policy": {"max_retries": 2}}, 3),
        ({}, {"retry_policy": {"max_retries": 4, **QUICK}}, 5),
        ({}, {"retry_policy": {"max_retries": 0}}, 1),
        ({"task_publish_retry_policy": {"max_retries": 2, **QUICK}}, {}, 3),
        ({"task_publish_retry_policy": {"max_retries": 2, **QUICK}}, {"retry_policy": {"max_retries": 1}}, 2),
        ({}, {"retry": False, "retry_policy": {"max_retries": 9}}, 1),
    ],
)
def test_a_message_is_attempted_as_often_as_its_retry_policy_says(
    app: Celery, tried: list[str], settings: dict[str, Any], options: dict[str, Any], times: int
) -> None:
    app.conf.update(settings)
    with pytest.raises(OperationalError, match="away"):
        app.send_task("buy", (1,), **options)
    assert len(tried) == times


def test_a_committed_message_is_attempted_as_often_as_its_retry_policy_says_and_then_logged(
    app: Celery, tried: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with transaction.manager:
        result = app.send_task("buy", (1,), retry=False)
    assert tried == [result.id]
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "committed, but not started" in line
    assert result.id in line


def test_the_retry_policy_of_one_message_does_not_limit_the_other_messages_of_its_transaction(
    app: Celery, tried: list[str]
) -> None:
    app.conf["ptemporal.dispatch_timeout"] = 0.5
    with transaction.manager:
        once = app.send_task("buy", (1,), retry=False)
        patient = app.send_task("buy", (1,))
    assert tried.count(once.id) == 1
    assert tried.count(patient.id) > 2


@pytest.mark.integration
def test_a_server_that_goes_away_is_not_tried_again_by_the_client_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedServer(headless=True) as server, client_app(server.address, dispatch_timeout=60) as app:
        result = app.send_task("buy", (1,), retry=False)
        assert started(app, [result.id]) == {result.id}
        server.kill()
        with pytest.raises(OperationalError):
            app.send_task("buy", (1,), retry=False)


def test_an_unreachable_server_is_attempted_once() -> None:
    away = client_app(f"127.0.0.1:{closed_port()}", dispatch_timeout=60)
    with away as app, pytest.raises(OperationalError, match="connection refused"):
        app.send_task("buy", (1,), retry=False)


def test_pauses_between_attempts_are_those_of_celery() -> None:
    policy = {"max_retries": 5, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.4}
    app = Celery("shop", set_as_current=False)
    tries = publish_retry_of("buy", {"retry_policy": policy}, app.conf)
    assert tries is not None
    assert [round(pause, 3) for pause in tries.pauses()] == [0.1, 0.3, 0.5, 0.5, 0.5]
    assert tries.policy() == policy
    assert publish_retry_of("buy", {}, app.conf) is None
    assert publish_retry_of("buy", {"retry_policy": {"max_retries": None}}, app.conf) == PublishRetry(None)


def test_before_task_publish_gets_the_retry_policy(app: Celery, tried: list[str]) -> None:
    told = []

    def receiver(retry_policy: Any, **named: Any) -> None:
        told.append(retry_policy)

    signals.before_task_publish.connect(receiver)
    with pytest.raises(OperationalError):
        app.send_task("buy", (1,), retry_policy={"max_retries": 1})
    assert told[0]["max_retries"] == 1


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"retries": 3}, "has no retries; it takes max_retries"),
        ({"max_retries": "many"}, "max_retries='many'"),
        ({"interval_step": -1}, "interval_step=-1"),
        ([1], "it takes a dict"),
    ],
)
def test_an_invalid_retry_policy_is_refused_by_the_call(app: Celery, policy: Any, why: str) -> None:
    with pytest.raises(InvalidCall, match=why):
        app.send_task("buy", (1,), retry_policy=policy)
