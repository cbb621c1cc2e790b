"""The workflows of bookings."""

from __future__ import annotations

from temporalio import workflow


@workflow.defn(name="bookings.Book")
class Book:
    @workflow.run
    async def run(self, room: int, guest: str = "nobody") -> str:
        return f"room {room} for {guest}"
