"""What APM agents rely on, without an agent. `tests/agents` has the real ones."""

from __future__ import annotations

import contextvars
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pyramid_temporal_compat import Celery, signals
from pyramid_temporal_compat.celery_names.producer import Producer
from pyramid_temporal_compat.context import Context
from pyramid_temporal_compat.enlist.publish_signals import after_publish
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, Retry
from pyramid_temporal_compat.message.trace_headers import without_trace
from pyramid_temporal_compat.task import trace


@pytest.fixture
def app() -> Celery:
    return Celery("shop", set_as_current=False)


@pytest.fixture
def sell(app: Celery) -> Any:
    @app.task(name="sell", bind=True)
    def sell(self: Any, number: int = 1) -> int:
        if number < 0:
            raise ValueError(number)
        if number == 0 and not self.request.retries:
            raise self.retry(args=(1,), countdown=0)
        return number

    return sell


@pytest.fixture
def handled() -> Iterator[list[Any]]:
    """What `sys.exc_info()` gives to receivers of `task_failure` and `task_retry`, and outside of these."""
    found: list[Any] = []

    def receive(**details: Any) -> None:
        found.append(sys.exc_info()[1])

    watched = (signals.task_failure, signals.task_retry, signals.task_success, signals.task_postrun)
    for signal in watched:
        signal.connect(receive, weak=False)
    yield found
    for signal in watched:
        signal.disconnect(receive)


def test_receivers_of_a_failure_are_called_while_its_error_is_handled(sell: Any, handled: list[Any]) -> None:
    result = sell.apply((-1,), throw=False)
    failure, after_run = handled
    assert failure is result.result
    assert after_run is None


def test_receivers_of_a_retry_are_called_while_the_retry_is_handled(sell: Any, handled: list[Any]) -> None:
    assert sell.apply((0,)).get() == 1
    assert isinstance(handled[0], Retry)
    assert handled[1:] == [None, None, None]


def test_the_error_of_a_failure_keeps_its_traceback_and_its_context(sell: Any, handled: list[Any]) -> None:
    try:
        raise KeyError("of the caller")
    except KeyError:
        error = sell.apply((-1,), throw=False).result
    assert error.__traceback__.tb_frame.f_code.co_name == "sell"
    assert error.__traceback__.tb_next is None
    assert repr(error.__context__) == "KeyError('of the caller')"


def test_the_headers_of_a_message_are_attributes_of_the_request() -> None:
    request = Context(own_headers={"traceparent": "00-1-2-01", "id": "theirs", "update": "theirs"}, id="ours")
    assert request.traceparent == "00-1-2-01"  # type: ignore[attr-defined]
    assert request.id == "ours"
    assert callable(request.update)
    assert request.headers == {"traceparent": "00-1-2-01", "id": "theirs", "update": "theirs"}


def test_a_header_headers_is_what_the_request_has_as_headers() -> None:
    sent = {"tenant": 7, "headers": {"x-datadog-trace-id": "5"}}
    request = Context(own_headers=sent)
    assert request.headers == {"x-datadog-trace-id": "5"}
    assert request.tenant == 7  # type: ignore[attr-defined]
    assert request.as_execution_options()["headers"] == sent


def test_headers_that_a_task_has_changed_are_sent_by_its_retry() -> None:
    request = Context(own_headers={"tenant": 7})
    request.headers["colour"] = "red"
    assert request.as_execution_options()["headers"] == {"tenant": 7, "colour": "red"}


def test_a_task_that_a_tool_has_wrapped_for_build_tracer_is_called(sell: Any, monkeypatch: Any) -> None:
    class Wrapped:
        """As New Relic's proxy does, it shows the task's attributes and puts its own call around the task's."""

        def __init__(self, task: Any) -> None:
            self.task = task

        def __getattr__(self, name: str) -> Any:
            return getattr(self.task, name)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return ["seen", self.task(*args, **kwargs)]

    original = trace.build_tracer
    monkeypatch.setattr(trace, "build_tracer", lambda name, task, *args, **more: original(name, Wrapped(task), *args))
    assert sell.apply((4,)).get() == ["seen", 4]


def test_the_message_of_a_periodic_task_has_no_trace() -> None:
    inner = {"sentry-trace": "1-2", "x-datadog-trace-id": "5", "tenant": 7}
    headers = {"traceparent": "00-1-2-01", "sentry-task-enqueued-time": 1.5, "tenant": 7, "headers": inner}
    assert without_trace(headers) == {"tenant": 7, "headers": {"tenant": 7}}
    assert without_trace({"newrelic": "x", "headers": {"baggage": "y"}}) == {}


CURRENT_SPAN: contextvars.ContextVar[str] = contextvars.ContextVar("span", default="the view's")


def test_a_span_that_a_receiver_begins_is_current_for_receivers_of_that_message_only(app: Celery, sell: Any) -> None:
    ended = []

    def begin(headers: dict[str, Any], **details: Any) -> None:
        headers["parent"] = CURRENT_SPAN.get()
        CURRENT_SPAN.set(f"span of {headers['id']}")

    def end(**details: Any) -> None:
        ended.append(CURRENT_SPAN.get())

    signals.before_task_publish.connect(begin)
    signals.after_task_publish.connect(end)
    try:
        messages = [app.message("sell", (), {}, {"task_id": task_id}, sell)[0] for task_id in ("one", "two")]
        assert [message.headers["parent"] for message in messages] == ["the view's", "the view's"]
        assert CURRENT_SPAN.get() == "the view's"
        for message in messages:
            after_publish(message)
    finally:
        signals.before_task_publish.disconnect(begin)
        signals.after_task_publish.disconnect(end)
    assert ended == ["span of one", "span of two"]
    assert pickle.loads(pickle.dumps(messages[0])) == messages[0]


def test_a_tool_that_has_wrapped_kombus_producer_gets_each_message(app: Celery, sell: Any, monkeypatch: Any) -> None:
    original = Producer.publish

    def publish(self: Any, body: Any, headers: Any = None, **options: Any) -> Any:
        return original(self, body, headers={**headers, "newrelic": f"{headers['task']} to {options['routing_key']}"})

    monkeypatch.setattr(Producer, "publish", publish)
    message = app.message("sell", (1,), {}, {"queue": "till", "headers": {"own": 1}}, sell)[0]
    assert message.headers == {"own": 1, "newrelic": "sell to till"}


def test_tracing_without_opentelemetry_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "temporalio.contrib.opentelemetry", None)
    app = Celery("shop", set_as_current=False, **{"ptemporal.tracing": "opentelemetry"})
    with pytest.raises(ImproperlyConfigured, match=r"needs OpenTelemetry .*\[opentelemetry\]'"):
        app.client_options()
