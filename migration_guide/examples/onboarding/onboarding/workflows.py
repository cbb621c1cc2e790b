"""The order of the steps. A workflow reads and writes nothing itself: it calls activities and waits."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ChildWorkflowError

from .activities import process_user, send_mail

FOLLOW_UP_AFTER = timedelta(hours=24)
STEP_TIMEOUT = timedelta(minutes=1)
RETRIES = RetryPolicy(maximum_attempts=5)


@dataclass
class Batch:
    """Which users of a batch were onboarded, and which were not."""

    onboarded: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)


@workflow.defn
class OnboardUser:
    """Process one user, send the welcome mail, wait a day, and send the follow-up."""

    def __init__(self) -> None:
        self._step = "processing"

    @workflow.run
    async def run(self, user_id: int) -> str:
        name = await workflow.execute_activity(
            process_user, user_id, start_to_close_timeout=STEP_TIMEOUT, retry_policy=RETRIES
        )
        await self._mail(user_id, "welcome")
        self._step = "waiting"
        await workflow.sleep(FOLLOW_UP_AFTER)
        await self._mail(user_id, "follow-up")
        self._step = "done"
        return name

    @workflow.query
    def step(self) -> str:
        return self._step

    async def _mail(self, user_id: int, kind: str) -> None:
        await workflow.execute_activity(
            send_mail, args=[user_id, kind], start_to_close_timeout=STEP_TIMEOUT, retry_policy=RETRIES
        )


@workflow.defn
class OnboardUsers:
    """Onboard a batch of users in parallel. A user who can't be onboarded does not stop the others."""

    @workflow.run
    async def run(self, user_ids: list[int]) -> Batch:
        outcomes = await asyncio.gather(*map(self._onboard, user_ids))
        batch = Batch()
        for user_id, onboarded in zip(user_ids, outcomes, strict=True):
            (batch.onboarded if onboarded else batch.failed).append(user_id)
        return batch

    async def _onboard(self, user_id: int) -> bool:
        try:
            await workflow.execute_child_workflow(
                OnboardUser.run, user_id, id=f"{workflow.info().workflow_id}/{user_id}"
            )
        except ChildWorkflowError as error:
            workflow.logger.warning("user %s was not onboarded: %s", user_id, error.cause)
            return False
        return True
