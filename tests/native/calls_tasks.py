"""A workflow whose module imports tasks and models, as an application's may."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from tests.native.activities import write_async
from tests.worker.shop import Line, note


@workflow.defn
class UsesModels:
    """Uses the name of a model and of a task."""

    @workflow.run
    async def run(self, text: str) -> list[str]:
        return [
            Line.__tablename__,
            str(note.name),
            await workflow.execute_activity(write_async, text, start_to_close_timeout=timedelta(seconds=30)),
        ]
