"""The metrics and the readiness of a web process."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import webtest
from pyramid.config import Configurator

from pyramid_temporal_compat import Celery, signals
from pyramid_temporal_compat.current import set_current_app
from pyramid_temporal_compat.enlist.dispatch_end import dispatch_ended
from pyramid_temporal_compat.exceptions import OperationalError
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.monitoring import web_metrics
from pyramid_temporal_compat.monitoring.readiness import readiness
from pyramid_temporal_compat.monitoring.sdk_metrics import free_port
from pyramid_temporal_compat.task.call_options import make_message


@pytest.fixture
def receivers_as_before() -> Iterator[None]:
    watched = (signals.after_task_publish, dispatch_ended)
    before = [list(signal.receivers) for signal in watched]
    yield
    for signal, receivers in zip(watched, before, strict=True):
        signal.receivers[:] = receivers


def test_a_web_process_counts_what_it_sends(receivers_as_before: None) -> None:
    port = free_port()
    app = Celery("web", set_as_current=False)
    set_current_app(None)  # else the application adopts an app of another test
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
    assert len([each for each in caplog.records if "PROMETHEUS_MULTIPROC_DIR" in each.getMessage()]) == 1
    assert first._server is not None
    first._server.close()  # as if its process had ended
    monkeypatch.setattr(second, "_next_try", 0.0)
    second.serve()
    assert second._server is not None


def test_a_dispatch_is_timed_and_what_it_lacks_is_counted(receivers_as_before: None) -> None:
    metrics = web_metrics.WebMetrics("127.0.0.1:0")
    app = Celery("away", set_as_current=False)
    app.conf.update(ptemporal_address="127.0.0.1:1", ptemporal_dispatch_timeout=0.5)
    message = make_message(app, "shop.pay", (), {}, {"queue": "money"}, None)
    with pytest.raises(OperationalError):
        app.dispatcher.send([message])
    app.dispatcher.after_commit([message], KeepsAll())
    app.close()
    text = metrics.page().text
    assert "ptemporal_dispatch_seconds_count 2.0" in text
    assert 'ptemporal_dispatch_failed_total{kept="log"} 1.0' in text
    assert 'ptemporal_dispatch_failed_total{kept="outbox"} 1.0' in text


class KeepsAll:
    """An outbox that has a row for each message."""

    def record_dispatch(self, started: Any, failed: Any) -> Any:
        return []


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
