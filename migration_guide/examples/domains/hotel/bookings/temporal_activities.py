"""The activities of bookings."""

from __future__ import annotations

from hotel.models import Booking
from pyramid_temporal_compat import ActivityContext, activity

PRICE_OF_A_NIGHT = 90


@activity.defn(name="bookings.price")
def price(context: ActivityContext, booking_id: int) -> int:
    return PRICE_OF_A_NIGHT * find(context, booking_id).nights


@activity.defn(name="bookings.confirm")
def confirm(context: ActivityContext, booking_id: int) -> None:
    find(context, booking_id).status = "confirmed"


def find(context: ActivityContext, booking_id: int) -> Booking:
    booking: Booking | None = context.request.dbsession.get(Booking, booking_id)
    if booking is None:
        raise LookupError(f"There is no booking {booking_id}.")
    return booking
