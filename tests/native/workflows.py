"""Workflows of the tests."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from tests.native.activities import plain, write_async, write_sync

LIMIT = timedelta(seconds=30)


@workflow.defn
class Writes:
    """Calls one activity of each kind."""

    @workflow.run
    async def run(self, text: str) -> list[str]:
        return [
            await workflow.execute_activity(write_async, text, start_to_close_timeout=LIMIT),
            await workflow.execute_activity(write_sync, text, start_to_close_timeout=LIMIT),
            await workflow.execute_activity(plain, text, start_to_close_timeout=LIMIT),
        ]
