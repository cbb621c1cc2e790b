"""temporalio's worker for a Pyramid application."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker as TemporalWorker

from .binding import bound_activities
from .sandbox import workflow_runner


class Worker(TemporalWorker):
    """temporalio's worker, whose context activities get the application's registry, request and transaction."""

    def __init__(
        self,
        client: Client,
        registry: Any,
        *,
        task_queue: str,
        activities: Sequence[Callable[..., Any]] = (),
        workflows: Sequence[type] = (),
        **options: Any,
    ) -> None:
        """
        :param registry: the application's registry.
        :param options: everything else that `temporalio.worker.Worker` takes.
        """
        options.setdefault("activity_executor", ThreadPoolExecutor(100, "activity"))
        super().__init__(client, task_queue=task_queue, **worker_options(registry, activities, workflows), **options)


def worker_options(
    registry: Any, activities: Sequence[Callable[..., Any]], workflows: Sequence[type]
) -> dict[str, Any]:
    """Return the options with which any Temporal worker runs these activities and workflows of an application.

    The options are `activities`, `workflows` and `workflow_runner`. `ptemporal-compat worker` calls this too.
    """
    return {
        "activities": bound_activities(registry, activities),
        "workflows": list(workflows),
        "workflow_runner": workflow_runner(activities, workflows),
    }
