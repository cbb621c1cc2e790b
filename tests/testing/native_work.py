"""Workflows of the tests of the fixtures, in a file of their own: the workflow sandbox imports it again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow

from tests.testing.native_activities import enrich_user, remind


@workflow.defn
class Onboarding:
    """Enriches a user, waits a day, and sends a reminder."""

    @workflow.run
    async def run(self, user: str) -> list[str]:
        limit = timedelta(seconds=30)
        first = await workflow.execute_activity(enrich_user, user, start_to_close_timeout=limit)
        await asyncio.sleep(24 * 3600)
        return [first, await workflow.execute_activity(remind, user, start_to_close_timeout=limit)]


@workflow.defn(name="Onboarding")
class OnboardingWithoutTheDay:
    """A later version of `Onboarding` that can't replay histories of the earlier one."""

    @workflow.run
    async def run(self, user: str) -> list[str]:
        limit = timedelta(seconds=30)
        return [await workflow.execute_activity(remind, user, start_to_close_timeout=limit)]


@workflow.defn
class Quick:
    """Enriches a user."""

    @workflow.run
    async def run(self, user: str) -> str:
        return await workflow.execute_activity(enrich_user, user, start_to_close_timeout=timedelta(seconds=30))
