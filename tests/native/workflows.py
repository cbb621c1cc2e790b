"""Workflows of the tests."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from tests.native.activities import meet_async, meet_sync, plain, reads_twice, write_async, write_sync

LIMIT = timedelta(seconds=60)
ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn
class Writes:
    """Names activities of several kinds by their functions."""

    @workflow.run
    async def run(self, text: str) -> list[str]:
        return [
            await workflow.execute_activity(write_async, text, start_to_close_timeout=LIMIT),
            await workflow.execute_activity(write_sync, text, start_to_close_timeout=LIMIT),
            await workflow.execute_activity(plain, text, start_to_close_timeout=LIMIT),
        ]


@workflow.defn
class Runs:
    """Runs one activity by its name."""

    @workflow.run
    async def run(self, name: str, argument: Any, attempts: int) -> Any:
        return await workflow.execute_activity(
            name,
            argument,
            start_to_close_timeout=LIMIT,
            heartbeat_timeout=timedelta(seconds=1),
            retry_policy=RetryPolicy(maximum_attempts=attempts, initial_interval=timedelta(milliseconds=10)),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


@workflow.defn
class Meets:
    """Runs many activities at once, every other one `async def`."""

    @workflow.run
    async def run(self, meeting: str, size: int, writes: bool) -> list[list[Any]]:
        return await asyncio.gather(
            *(
                workflow.execute_activity(
                    meet_async if number % 2 else meet_sync,
                    args=[meeting, number, writes],
                    start_to_close_timeout=LIMIT,
                    retry_policy=ONCE,
                )
                for number in range(size)
            )
        )


@workflow.defn
class ReadsALot:
    """Runs many `async def` activities that keep a connection while they await."""

    @workflow.run
    async def run(self, size: int) -> list[int]:
        return await asyncio.gather(
            *(
                workflow.execute_activity(reads_twice, number, start_to_close_timeout=LIMIT, retry_policy=ONCE)
                for number in range(size)
            )
        )
