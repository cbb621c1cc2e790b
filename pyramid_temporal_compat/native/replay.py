"""Run recorded histories against the workflow code of today, to find changes that would break running workflows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from ..client.client_options import ClientOptions
from ..exceptions import ImproperlyConfigured
from ..payload.headers import HeaderInterceptor
from ..worker.workflows.schedule_driver import ScheduleDriver
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
    options: ClientOptions | None = None,
) -> list[ReplayFailure]:
    """Replay each history, and return the failures.

    The histories of tasks and canvases replay too: their workflow need not be among `workflows`.

    :param files: histories as JSON, as `temporal workflow show --output json` writes them.
    :param activities: the worker's activities. Their modules pass through the workflow sandbox, as in the worker.
    :param registry: the application's registry. The modules of its tasks pass through, too.
    :param options: the options of the application's clients. Without them, encrypted payloads can't be read.
    """
    of_client = (options or ClientOptions()).of_client()
    replayer = Replayer(
        workflows=[TaskWorkflow, ScheduleDriver, *workflows],
        workflow_runner=workflow_runner(registry, activities, workflows),
        data_converter=of_client["data_converter"],
        header_codec_behavior=of_client["header_codec_behavior"],
        interceptors=[HeaderInterceptor()],
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
    history = WorkflowHistory.from_json(recorded.pop("workflowId", file.stem), recorded)
    if not history.events:
        raise ImproperlyConfigured(f"{file}: a history without events")
    started = history.events[0].workflow_execution_started_event_attributes
    return WorkflowHistory(started.workflow_id or history.workflow_id, history.events)
