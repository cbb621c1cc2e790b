"""Guests book by the web."""

from __future__ import annotations

from typing import Any

from pyramid.httpexceptions import HTTPBadRequest, HTTPNotFound
from pyramid.request import Request
from pyramid.view import view_config

from .bookings.temporal_workflows import Book
from .models import Booking


@view_config(route_name="bookings", request_method="POST", renderer="json")
def create_booking(request: Request) -> dict[str, Any]:
    try:
        guest, room, nights = request.POST["guest"], int(request.POST["room"]), int(request.POST["nights"])
    except (KeyError, ValueError):
        raise HTTPBadRequest("Send a form with guest (an address), room and nights (numbers).") from None
    booking = Booking(guest=guest, room=room, nights=nights)
    request.dbsession.add(booking)
    request.dbsession.flush()
    handle = request.temporal.start_workflow(Book.run, booking.id, id=f"booking-{booking.id}")
    request.response.status = 201
    return {"booking": booking.id, "workflow": handle.id}


@view_config(route_name="booking", renderer="json")
def show_booking(request: Request) -> dict[str, Any]:
    booking = request.dbsession.get(Booking, int(request.matchdict["id"]))
    if booking is None:
        raise HTTPNotFound(f"There is no booking {request.matchdict['id']}.")
    return {"guest": booking.guest, "room": booking.room, "nights": booking.nights, "status": booking.status}
