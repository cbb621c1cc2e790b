"""Run recorded histories against the workflow code of today, to find changes that would break running workflows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import Replayer

from ..exceptions import ImproperlyConfigured
from ..payload.converter import data_converter as own_data_converter
from ..worker.workflows.task_workflow import TaskWorkflow
from .sandbox import workflow_runner


@dataclass(frozen=True)
class ReplayFailure:
    """A history that the workflow code of today can't have made."""

    file: Path
    error: Exception

    def __str__(self) -> str:
        return f"{self.file}: {type(self.error).__name__}: {self.error}"


async def replay(
    files: Iterable[Path],
    workflows: Sequence[type],
    activities: Sequence[Callable[..., Any]] = (),
    registry: Any = None,
    data_converter: DataConverter | None = None,
) -> list[ReplayFailure]:
    """Replay each history, and return the failures.

    The histories of tasks and canvases replay too: their workflow need not be among `workflows`.

    :param files: histories as JSON, as `temporal workflow show --output json` writes them.
    :param activities: the worker's activities. Their modules pass through the workflow sandbox, as in the worker.
    :param registry: the application's registry. The modules of its tasks pass through, too.
    :param data_converter: the converter of the application's clients. Without it, encrypted payloads can't be read.
    """
    replayer = Replayer(
        workflows=[TaskWorkflow, *workflows],
        workflow_runner=workflow_runner(registry, activities, workflows),
        data_converter=data_converter or own_data_converter(),
    )
    failures = []
    for file in files:
        result = await replayer.replay_workflow(read_history(file), raise_on_replay_failure=False)
        if result.replay_failure is not None:
            failures.append(ReplayFailure(file, result.replay_failure))
    return failures


def read_history(file: Path) -> WorkflowHistory:
    """Return the history in a file. Raise an error that names the file if it holds none."""
    try:
        recorded = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(f"{file}: not a history that can be read: {error}") from error
    if not isinstance(recorded, dict) or "events" not in recorded:
        raise ImproperlyConfigured(
            f'{file}: no history of a workflow, which is a JSON object with "events"; '
            "write one with temporal workflow show --workflow-id ID --output json"
        )
    return WorkflowHistory.from_json(recorded.pop("workflowId", file.stem), recorded)
