"""OpenTelemetry's instrumentation of Celery."""

from __future__ import annotations

from typing import Any

from tests.agents.conftest import Shopping, needs_agents

needs_agents()
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

AGENT = "OpenTelemetry"


def spans_of(shopping: Shopping) -> list[Any]:
    requests = map(ExportTraceServiceRequest.FromString, shopping.collector.bodies("/v1/traces"))
    return [
        span for each in requests for sent in each.resource_spans for part in sent.scope_spans for span in part.spans
    ]


def test_the_view_the_call_and_the_run_are_one_trace(shopping: Shopping) -> None:
    spans = {span.name: span for span in spans_of(shopping)}
    view = spans["POST /buy"]
    for name in ("pack", "drop", "weigh"):
        call, run = spans[f"apply_async/tests.agents.shop.{name}"], spans[f"run/tests.agents.shop.{name}"]
        assert (call.parent_span_id, run.parent_span_id) == (view.span_id, call.span_id)
        assert {call.trace_id, run.trace_id} == {view.trace_id}


def test_an_error_is_reported_once_with_its_traceback(shopping: Shopping) -> None:
    events = [event for span in spans_of(shopping) for event in span.events if event.name == "exception"]
    [about] = [{each.key: each.value.string_value for each in event.attributes} for event in events]
    assert (about["exception.type"], about["exception.message"]) == ("ValueError", "it is broken")
    assert 'raise ValueError("it is broken")' in about["exception.stacktrace"]
    assert "pyramid_temporal_compat" not in about["exception.stacktrace"]


def test_a_retry_has_a_run_of_its_own(shopping: Shopping) -> None:
    runs = [span for span in spans_of(shopping) if span.name == "run/tests.agents.shop.weigh"]
    assert len(runs) == 2
    assert any(each.key == "celery.retry.reason" for span in runs for each in span.attributes)
