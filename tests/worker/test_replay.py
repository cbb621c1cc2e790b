"""Workflows that older releases started continue under this release."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from pyramid_temporal_compat.worker.workflows.task_workflow import TaskWorkflow

HISTORIES = sorted((Path(__file__).parent.parent / "histories").glob("*.json"))


def test_there_is_a_history_of_each_kind() -> None:
    assert {path.stem for path in HISTORIES} >= {
        "success",
        "failure",
        "retry",
        "retry_changed",
        "expired",
        "expired_in_the_queue",
        "revoked",
        "revoked_while_running",
        "worker_lost_at_most_once",
        "chain",
        "group",
        "group_in_batches",
        "chord",
        "chord_failed",
        "links",
        "errbacks",
        "errbacks_that_see_arguments",
        "replaced",
        "member_revoked",
        "chain_in_lots",
        "chain_in_lots_failed",
        "chord_in_lots",
        "chord_failed_before_a_group",
        "links_of_a_retry",
        "step_revoked_in_a_later_lot",
    }


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_recorded_history_replays(path: Path) -> None:
    recorded = json.loads(path.read_text())
    history = WorkflowHistory.from_json(recorded.pop("workflowId"), recorded)
    asyncio.run(Replayer(workflows=[TaskWorkflow]).replay_workflow(history))
