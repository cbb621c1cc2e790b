"""temporalio's worker for a Pyramid application.

It is a subclass of temporalio's, and not an object that holds one: `isinstance`, plugins, `run`, `shutdown`, `async
with` and everything that a later temporalio adds work as they are documented there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker as TemporalWorker

from ..current import APP_KEY, app_of
from ..payload.headers import HeaderInterceptor
from .binding import bound_activities, refuse_processes
from .compat_tasks import CompatTasks
from .connection_limit import safe_slots
from .sandbox import workflow_runner

SLOTS = 100
"""Activities that a worker runs at a time, unless its options say otherwise: temporalio's own default."""
MOST_THREADS = 500
"""Threads for `def` activities under a `tuner`, which may change the number of slots. Threads start when needed."""


class Worker(TemporalWorker):
    """temporalio's worker, for activities that take an `ActivityContext`, and for all others."""

    def __init__(
        self,
        client: Client,
        registry: Any,
        *,
        task_queue: str,
        activities: Sequence[Callable[..., Any]] = (),
        workflows: Sequence[type] = (),
        tasks: bool = False,
        activity_executor: Executor | None = None,
        **options: Any,
    ) -> None:
        """
        :param registry: the registry of the Pyramid application. Context activities get their requests from it.
        :param activities: context activities and all other activities, in any order.
        :param tasks: also run the application's tasks that are sent to `task_queue`. They run on threads.
        :param activity_executor: where `def` activities run. By default, on a thread for each activity that may run.
        :param options: everything else that `temporalio.worker.Worker` takes.
        """
        slots = most_activities(options, activities)
        if activity_executor is None:
            activity_executor = ThreadPoolExecutor(slots, "activity")
            self._own_executor: ThreadPoolExecutor | None = activity_executor
        else:
            refuse_processes(activity_executor, activities)
            self._own_executor = None
        parts = worker_options(registry, activities, workflows)
        add_those_of_settings(registry, options)
        if not any(isinstance(each, HeaderInterceptor) for each in client.config()["interceptors"]):
            # The client is not from `connect(registry)`. Tasks, and workflows that call tasks, need it all the same.
            options["interceptors"] = [HeaderInterceptor(), *options.get("interceptors", ())]
        self._tasks: CompatTasks | None = None
        if tasks:
            self._tasks = CompatTasks(app_of(registry), client, slots, options.get("identity") or client.identity)
            parts = self._tasks.added_to(parts)
        super().__init__(client, task_queue=task_queue, activity_executor=activity_executor, **{**parts, **options})

    async def run(self) -> None:
        """Run until `shutdown` is called, as temporalio's worker does."""
        async with AsyncExitStack() as undo:
            if self._own_executor is not None:
                undo.callback(self._own_executor.shutdown, wait=False)
            if self._tasks is not None:
                await undo.enter_async_context(self._tasks.running())
            await super().run()


def worker_options(
    registry: Any, activities: Sequence[Callable[..., Any]], workflows: Sequence[type]
) -> dict[str, Any]:
    """Return the options with which any Temporal worker runs these activities and workflows of an application.

    These are `activities`, `workflows` and `workflow_runner`. `ptemporal-compat worker` gives them to the worker of
    each queue.
    """
    return {
        "activities": bound_activities(registry, activities),
        "workflows": list(workflows),
        "workflow_runner": workflow_runner(registry, activities, workflows),
    }


def add_those_of_settings(registry: Any, options: dict[str, Any]) -> None:
    """Add the interceptors and plugins for workers that the settings name. Those for clients come with the client."""
    app = None if registry is None else registry.get(APP_KEY)
    if app is not None:
        named = app.client_options()
        options["interceptors"] = [*named.worker_interceptors, *options.get("interceptors", ())]
        options["plugins"] = [*named.worker_plugins, *options.get("plugins", ())]


def most_activities(options: dict[str, Any], activities: Sequence[Callable[..., Any]]) -> int:
    """Return how many activities a worker may run at a time. If the database limits it, set it in `options`."""
    if options.get("tuner"):
        return MOST_THREADS
    wanted = options.get("max_concurrent_activities") or SLOTS
    slots = safe_slots(activities, wanted, chosen=options.get("max_concurrent_activities") is not None)
    if slots < wanted:
        options["max_concurrent_activities"] = slots
    return slots
