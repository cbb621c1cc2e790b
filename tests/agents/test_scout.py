"""Scout's integration of Celery."""

from __future__ import annotations

import json
from typing import Any

from tests.agents.conftest import Shopping, needs_agents

needs_agents()

AGENT = "Scout"


def commands_of(shopping: Shopping) -> list[dict[str, Any]]:
    batches = [each["BatchCommand"]["commands"] for each in shopping.collector.commands if "BatchCommand" in each]
    return [command for batch in batches for command in batch]


def test_a_run_is_a_job_that_knows_how_long_it_waited(shopping: Shopping) -> None:
    commands = commands_of(shopping)
    started = [each["StartSpan"] for each in commands if "StartSpan" in each]
    jobs = {each["request_id"]: each["operation"] for each in started if each["operation"].startswith("Job/")}
    assert sorted(name.rpartition(".")[2] for name in jobs.values()) == ["drop", "pack", "weigh", "weigh"]
    tags = [each["TagRequest"] for each in commands if "TagRequest" in each]
    waited = {each["request_id"] for each in tags if each["tag"] == "scout.job_queue_time_ns"}
    assert waited == set(jobs)
    assert {each["value"] for each in tags if each["tag"] == "task_id"} == set(shopping.ids.values())
    assert any(each["operation"].startswith("Controller/buy") for each in started)


def test_an_error_is_reported_once_with_its_traceback(shopping: Shopping) -> None:
    sent = [json.loads(body) for body in shopping.collector.bodies("/apps/error.scout")]

    [problem] = [problem for each in sent for problem in each["problems"]]
    assert (problem["exception_class"], problem["message"]) == ("ValueError", "it is broken")
    assert any(":in drop" in line for line in problem["trace"]), problem["trace"]
