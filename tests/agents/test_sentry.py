"""Sentry's CeleryIntegration, in the worker's child and in the web process."""

from __future__ import annotations

import json
from typing import Any

from tests.agents.conftest import Shopping, needs_agents

needs_agents()

AGENT = "Sentry"


def items_of(shopping: Shopping) -> list[dict[str, Any]]:
    """Return the events that came, each with its kind."""
    found = []
    for envelope in shopping.collector.bodies("/api/1/envelope/"):
        _, *items = [json.loads(line) for line in envelope.splitlines() if line]
        found += [body | {"kind": header["type"]} for header, body in zip(items[::2], items[1::2], strict=True)]
    return found


def test_the_view_the_call_and_the_run_are_one_trace(shopping: Shopping) -> None:
    transactions = [item for item in items_of(shopping) if item["kind"] == "transaction"]
    [view] = [each for each in transactions if each["contexts"]["trace"]["op"] == "http.server"]
    calls = {span["span_id"]: span for span in view["spans"]}
    assert {span["op"] for span in calls.values()} >= {"queue.submit.celery", "queue.publish"}
    runs = [each for each in transactions if each["contexts"]["trace"]["op"] == "queue.task.celery"]
    assert sorted(run["transaction"].rpartition(".")[2] for run in runs) == ["drop", "pack", "weigh", "weigh"]
    for run in runs:
        trace = run["contexts"]["trace"]
        assert trace["trace_id"] == view["contexts"]["trace"]["trace_id"]
        assert calls[trace["parent_span_id"]]["description"] == run["transaction"]


def test_an_error_is_reported_once_with_its_traceback(shopping: Shopping) -> None:
    [error] = [item for item in items_of(shopping) if item["kind"] == "event"]
    [raised] = error["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("ValueError", "it is broken")
    assert raised["stacktrace"]["frames"][-1]["function"] == "drop"
    assert error["tags"]["celery_task_id"] == shopping.ids["drop"]
