"""The workflows of payments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow

from . import tasks  # noqa: F401  a workflow may import tasks, to run them
from .temporal_activities import charge, receipt_number, wait_for_file


@dataclass
class Payment:
    customer: str
    amount: int
    currency: str = "EUR"


@workflow.defn
class Pay:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.is_closed = False

    @workflow.run
    async def run(self, payment: Payment, wait: bool = False) -> dict[str, object]:
        charged = await workflow.execute_activity(charge, payment.amount, start_to_close_timeout=timedelta(seconds=20))
        number = await workflow.execute_activity(
            receipt_number, payment.amount, start_to_close_timeout=timedelta(seconds=20)
        )
        if wait:
            await workflow.wait_condition(lambda: self.is_closed)
        return {"customer": payment.customer, "charged": charged, "receipt": number, "notes": self.notes}

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)

    @workflow.query
    def noted(self, limit: int = 10) -> list[str]:
        return self.notes[:limit]

    @workflow.update
    async def close(self, reason: str) -> int:
        self.notes.append(reason)
        self.is_closed = True
        return len(self.notes)


@workflow.defn
class WaitForFile:
    @workflow.run
    async def run(self, path: str) -> str:
        return await workflow.execute_activity(
            wait_for_file, path, start_to_close_timeout=timedelta(seconds=60), heartbeat_timeout=timedelta(seconds=2)
        )
