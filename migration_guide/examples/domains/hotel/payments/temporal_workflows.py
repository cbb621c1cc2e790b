"""The workflows of payments."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from .temporal_activities import charge


@workflow.defn(name="payments.Pay")
class Pay:
    @workflow.run
    async def run(self, reference: str, amount: int, currency: str = "EUR") -> str:
        return await workflow.execute_activity(
            charge, args=[reference, amount, currency], start_to_close_timeout=timedelta(minutes=1)
        )
