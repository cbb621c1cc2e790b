"""A hand-written workflow that calls a task."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pyramid_temporal_compat import execute_task


@workflow.defn
class Packing:
    @workflow.run
    async def run(self, queue: str) -> str:
        return str(await execute_task("traced.wrap", args=["book"], queue=queue))
