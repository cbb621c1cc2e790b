"""The metrics and the readiness of a web process."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import webtest
from pyramid.config import Configurator

from pyramid_temporal_compat import Celery, signals
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.monitoring import web_metrics
from pyramid_temporal_compat.monitoring.readiness import readiness
from pyramid_temporal_compat.monitoring.sdk_metrics import free_port
from pyramid_temporal_compat.task.call_options import make_message


@pytest.fixture
def receivers_as_before() -> Iterator[None]:
    before = list(signals.after_task_publish.receivers)
    yield
    signals.after_task_publish.receivers[:] = before


def test_a_web_process_counts_what_it_sends(receivers_as_before: None) -> None:
    port = free_port()
    app = Celery("web", set_as_current=False)
    config = Configurator(settings={"ptemporal.web_metrics_port": f"127.0.0.1:{port}"})
    config.include("pyramid_temporal_compat")
    config.set_celery_app(app)  # type: ignore[attr-defined]
    config.add_route("home", "/")
    config.add_view(lambda request: "home", route_name="home", renderer="string")
    site: Any = webtest.TestApp(config.make_wsgi_app())
    assert site.get("/").status_int == 200
    site.get("/")  # a second request starts no second server
    send(make_message(app, "shop.pay", (), {}, {"queue": "money"}, None))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'queue_name="money"} 1.0' in next(line for line in text.splitlines() if 'name="shop.pay"' in line)


def send(message: Message) -> None:
    signals.after_task_publish.send(sender=message.task, routing_key=message.queue)


def test_a_taken_port_does_not_stop_the_site(
    receivers_as_before: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(web_metrics.SHARED_FILES, raising=False)
    port = free_port()
    first, second = (web_metrics.WebMetrics(f"127.0.0.1:{port}") for _ in range(2))
    first.serve()
    second.serve()
    second.serve()
    assert [record.getMessage() for record in caplog.records if "PROMETHEUS_MULTIPROC_DIR" in record.getMessage()]


def test_readiness_says_whether_the_server_answers(temporal_address: str) -> None:
    app = Celery("ready", set_as_current=False)
    app.conf.update(ptemporal_address=temporal_address)
    try:
        assert readiness(app)
    finally:
        app.close()
    away = Celery("away", set_as_current=False)
    away.conf.update(ptemporal_address="127.0.0.1:1")
    found = readiness(away, timeout=1)
    away.close()
    assert not found
    assert found.server != "answers"
