"""Notice that the worker of another application takes tasks from the same queue.

Two applications that share a namespace and a queue, such as the default queue `celery`, take each other's tasks. A
worker that starts asks the other workers for their queues and tasks, and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..interfaces import WorkerLike


def introduction(worker: WorkerLike) -> dict[str, Any]:
    """Return what a worker tells a worker that starts: its app, its queues and its tasks."""
    return {"app": worker.app.main, "queues": list(worker.queues), "tasks": worker.app.tasks.own()}


def warning_about(worker: WorkerLike, node: str, answer: Mapping[str, Any], namespace: str) -> str | None:
    """Return a warning if the worker `node`, whose introduction is `answer`, belongs to another application.

    It belongs to another application if it serves one of this worker's queues and knows no task of this worker. The
    names of the apps don't tell: an app may have no name. Two releases of one application have some tasks in common.
    """
    theirs, ours = answer.get("tasks"), worker.app.tasks.own()
    shared = sorted(set(worker.queues).intersection(answer.get("queues") or ()))
    if not shared or not theirs or not ours or set(theirs).intersection(ours):
        return None
    return (
        f"{node}, a worker of the app {answer.get('app') or '__main__'!r}, takes tasks from the same queue "
        f"({', '.join(shared)}; namespace {namespace}), and knows none of this worker's tasks. Two applications that "
        "share a queue take each other's tasks. Give each application a queue of its own (celery.task_default_queue) "
        "or a namespace of its own (ptemporal.namespace)"
    )
