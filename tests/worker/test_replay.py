"""The workflow code replays a recorded history of each kind; `python -m tests.histories.record` records them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from pyramid_temporal_compat.payload.headers import HeaderInterceptor
from pyramid_temporal_compat.worker.workflows.schedule_driver import ScheduleDriver
from pyramid_temporal_compat.worker.workflows.task_workflow import TaskWorkflow
from tests.histories.record import KINDS

HISTORIES = sorted((Path(__file__).parent.parent / "histories").glob("*.json"))


def test_there_is_a_history_of_each_kind() -> None:
    assert {path.stem for path in HISTORIES} == set(KINDS)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_recorded_history_replays(path: Path) -> None:
    recorded = json.loads(path.read_text())
    history = WorkflowHistory.from_json(recorded.pop("workflowId"), recorded)
    replayer = Replayer(workflows=[TaskWorkflow, ScheduleDriver], interceptors=[HeaderInterceptor()])
    asyncio.run(replayer.replay_workflow(history))
