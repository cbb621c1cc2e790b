"""The workflows of bookings."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from .tasks import mail_guest
from .temporal_activities import confirm, price

MINUTE = timedelta(minutes=1)


@workflow.defn(name="bookings.Book")
class Book:
    """Let the guest pay, confirm the booking, and tell the guest."""

    @workflow.run
    async def run(self, booking_id: int) -> str:
        amount = await workflow.execute_activity(price, booking_id, start_to_close_timeout=MINUTE)
        # The domain of payments is known here by the name of its workflow and by its queue, and by nothing else.
        receipt: str = await workflow.execute_child_workflow(
            "payments.Pay", args=[f"booking-{booking_id}", amount, "EUR"], task_queue="payments", result_type=str
        )
        await workflow.execute_activity(confirm, booking_id, start_to_close_timeout=MINUTE)
        await mail_guest.execute(booking_id, receipt)
        return receipt
