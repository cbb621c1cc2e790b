"""New Relic's instrumentation of Celery, in its developer mode: what it would send is in its audit log."""

from __future__ import annotations

import ast
import re
from typing import Any

from tests.agents.conftest import Shopping, needs_agents

needs_agents()

AGENT = "New Relic"


REQUEST = re.compile(r"'method': '(\w+)'.*?\nDATA: (.*?)\n\n====", re.DOTALL)


def sent(shopping: Shopping, method: str) -> list[Any]:
    """Return what the agents of all processes would have sent."""
    requests = REQUEST.findall((shopping.home / "audit.log").read_text())
    return [ast.literal_eval(data) for found, data in requests if found == method]


def spans_of(shopping: Shopping) -> list[dict[str, Any]]:
    return [span for _, _, spans in sent(shopping, "span_event_data") for span, *_ in spans]


def test_the_view_the_call_and_the_run_are_one_trace(shopping: Shopping) -> None:
    spans = {span["guid"]: span for span in spans_of(shopping)}
    [view] = [
        span for span in spans.values() if span["name"] == "Function/tests.agents.shop:buy" and "parentId" in span
    ]
    runs = [span for span in spans.values() if span["name"].startswith("Celery/")]
    assert sorted(run["name"].rpartition(".")[2] for run in runs) == ["drop", "pack", "weigh", "weigh"]
    for run in runs:
        call = spans[run["parentId"]]
        assert call["name"].startswith("MessageBroker/Kombu/Exchange/Produce")
        assert (call["parentId"], run["traceId"]) == (view["guid"], view["traceId"])


def test_an_error_is_reported_once_with_its_traceback(shopping: Shopping) -> None:
    errors = [error for _, found in sent(shopping, "error_data") for error in found]
    [(_, transaction, message, kind, details)] = errors
    assert (transaction, message) == ("OtherTransaction/Celery/tests.agents.shop.drop", "it is broken")
    assert kind == "builtins:ValueError"
    assert details["stack_trace"][-1].endswith("in drop")
