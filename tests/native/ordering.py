"""A workflow that calls tasks of the application, and the tasks."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from pyramid_temporal_compat import chain, shared_task
    from pyramid_temporal_compat.native.task_execution import execute_task
    from tests.native.greeting import Greeting, Guest


@shared_task(name="native.pack")
def pack(item: int, note: str = "") -> dict[str, Any]:
    return {"item": item, "note": note}


@shared_task(name="native.flaky", bind=True, autoretry_for=(OSError,), retry_backoff=False, default_retry_delay=0)
def flaky(self: Any, times: int) -> int:
    if self.request.retries < times:
        raise OSError("not yet")
    return int(self.request.retries)


@shared_task(name="native.broken")
def broken() -> None:
    raise KeyError("no such item")


@shared_task(name="native.replaced", bind=True)
def replaced(self: Any, item: int) -> None:
    raise self.replace(chain(pack.si(item), pack.s(note="after")))


@shared_task(name="native.starts", bind=True)
def starts(self: Any, name: str, workflow_id: str, queue: str, fails: bool = False) -> None:
    """Start a workflow with this task's own transaction."""
    self.pyramid_request.temporal.start_workflow(Greeting.run, Guest(name), id=workflow_id, task_queue=queue)
    if fails:
        raise ValueError("told to")


@workflow.defn(name="Ordering")
class Ordering:
    @workflow.run
    async def run(self, queue: str) -> list[Any]:
        packed = await pack.execute(1, note="x")
        by_name = await execute_task("native.pack", args=[2], kwargs={"note": "y"}, queue=queue, countdown=0.1)
        retried = await execute_task(flaky, [2], queue=queue)
        result: Any = await execute_task(replaced, [3], queue=queue)
        try:
            await broken.execute()
        except ApplicationError as error:
            return [packed, by_name, retried, result, error.type, str(error)]
        return []
