"""The tasks of bookings: Celery's kind, beside workflows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotel.models import Booking, Mail
from pyramid_temporal_compat import shared_task

if TYPE_CHECKING:
    from pyramid_temporal_compat import Task


@shared_task(bind=True, queue="bookings")
def mail_guest(self: Task, booking_id: int, receipt: str) -> None:
    session = self.pyramid_request.dbsession
    booking = session.get(Booking, booking_id)
    session.add(Mail(recipient=booking.guest, text=f"Room {booking.room} is yours, {receipt}."))
