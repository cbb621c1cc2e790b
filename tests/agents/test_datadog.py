"""Datadog's integration of Celery."""

from __future__ import annotations

from typing import Any

from tests.agents.conftest import Shopping, needs_agents

needs_agents()
import msgpack  # noqa: E402

AGENT = "Datadog"


def spans_of(shopping: Shopping) -> list[dict[str, Any]]:
    payloads = map(msgpack.unpackb, shopping.collector.bodies("/v0.4/traces"))
    return [span for payload in payloads for trace in payload for span in trace]


def test_the_view_the_call_and_the_run_are_one_trace(shopping: Shopping) -> None:
    spans = spans_of(shopping)
    by_id = {span["span_id"]: span for span in spans}
    [view] = [span for span in spans if span["name"] == "pyramid.request"]
    runs = [span for span in spans if span["name"] == "celery.run"]
    assert sorted(span["resource"].rpartition(".")[2] for span in runs) == ["drop", "pack", "weigh", "weigh"]
    for run in runs:
        call = by_id[run["parent_id"]]
        assert (call["name"], call["resource"]) == ("celery.apply", run["resource"])
        assert call["parent_id"] == view["span_id"]
        assert run["trace_id"] == view["trace_id"]


def test_an_error_is_reported_once_with_its_traceback(shopping: Shopping) -> None:
    [failed] = [span for span in spans_of(shopping) if span.get("error")]
    assert (failed["resource"], failed["meta"]["error.message"]) == ("tests.agents.shop.drop", "it is broken")
    assert 'raise ValueError("it is broken")' in failed["meta"]["error.stack"]
