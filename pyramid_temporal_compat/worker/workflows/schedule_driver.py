"""The workflow that drives one Schedule whose times only its class knows. `schedules/drivers.py` starts it.

It asks the class in an activity, as Celery's beat does in its loop: is a run due, and when shall I ask again? The
activity fires the Schedule. The workflow remembers the last run, sleeps, and asks again.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from ...message import wire_names as wire

LONGEST_ANSWER = timedelta(minutes=1)
"""How long `is_due()` may take."""
NEXT_ATTEMPT = timedelta(seconds=30)
"""The longest pause after an error of `is_due()`, and between workers that do not know the entry."""


@workflow.defn(name=wire.DRIVER, sandboxed=False)
class ScheduleDriver:
    """Fires one Schedule again and again, until the Schedule is gone."""

    @workflow.run
    async def run(self, application: str, entry: str, last_run_at: str | None = None) -> None:
        """
        :param last_run_at: what the activity has told of the last run. None for a new driver.
        """
        while not workflow.info().is_continue_as_new_suggested():
            answer: dict[str, Any] | None = await workflow.execute_activity(
                wire.ASK_SCHEDULE,
                args=[application, entry, last_run_at, workflow.now().isoformat()],
                start_to_close_timeout=LONGEST_ANSWER,
                retry_policy=RetryPolicy(maximum_interval=NEXT_ATTEMPT),
                summary=entry,
            )
            if answer is None:
                return
            last_run_at = answer["last_run_at"]
            await asyncio.sleep(answer["pause"])
        workflow.continue_as_new(args=[application, entry, last_run_at])
