"""Elastic's integration of Celery."""

from __future__ import annotations

import json
from typing import Any

from tests.agents.conftest import Shopping, needs_agents

needs_agents()

AGENT = "Elastic"


def events_of(shopping: Shopping, kind: str) -> list[dict[str, Any]]:
    bodies = shopping.collector.bodies("/intake/v2/events")
    lines = [json.loads(line) for body in bodies for line in body.splitlines()]
    return [line[kind] for line in lines if kind in line]


def test_the_view_and_the_run_are_one_trace(shopping: Shopping) -> None:
    transactions = events_of(shopping, "transaction")
    [view] = [each for each in transactions if each["type"] == "request"]
    runs = [each for each in transactions if each["type"] == "celery"]
    assert sorted(run["name"].rpartition(".")[2] for run in runs) == ["drop", "pack", "weigh", "weigh"]
    assert {(run["trace_id"], run["parent_id"]) for run in runs} == {(view["trace_id"], view["id"])}
    outcomes = {run["name"].rpartition(".")[2]: run["outcome"] for run in runs if "weigh" not in run["name"]}
    assert outcomes == {"pack": "success", "drop": "failure"}


def test_an_error_is_reported_once_with_its_traceback(shopping: Shopping) -> None:
    [error] = events_of(shopping, "error")
    raised = error["exception"]
    assert (raised["type"], raised["message"]) == ("ValueError", "ValueError: it is broken")
    assert raised["stacktrace"][-1]["function"] == "drop"
