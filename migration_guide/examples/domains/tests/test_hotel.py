"""Each domain by itself, both together, and the commands of the README."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hotel.models import Mail, Payment
from pyramid.paster import get_appsettings
from sqlalchemy import select
from sqlalchemy.orm import Session
from webtest import TestApp

Command = Callable[..., str]
HERE = Path(__file__).parent.parent
PATIENCE = 60


def names(listed: str) -> set[str]:
    return {definition["name"] for definition in json.loads(listed)}


def test_the_domains_are_found(command: Command) -> None:
    listed = command("list", "--json")
    assert names(listed) >= {"bookings.Book", "bookings.price", "payments.Pay", "payments.charge"}


def test_one_domain_is_listed_alone(command: Command) -> None:
    assert names(command("list", "--domain", "payments", "--json")) == {"payments.Pay", "payments.charge"}


@pytest.mark.usefixtures("workers")
def test_a_payment_is_started_from_the_command_line(app: Any, command: Command) -> None:
    words = ["--args", "desk-1", "120", "--kwargs", "currency=CHF", "--id", "desk-1", "--wait"]
    assert "receipt-desk-1" in command("start", "payments.Pay", *words)
    with Session(app.registry["engine"]) as session:
        payment = session.get_one(Payment, "desk-1")
        assert (payment.amount, payment.currency) == (120, "CHF")
    assert json.loads(command("result", "desk-1")) == "receipt-desk-1"
    assert json.loads(command("find", "--query", 'WorkflowId = "desk-1"', "--json"))[0]["id"] == "desk-1"


@pytest.mark.usefixtures("workers")
def test_a_booking_is_paid_and_confirmed(app: Any, web: TestApp, command: Command) -> None:
    created = web.post("/bookings", {"guest": "ada@example.org", "room": "12", "nights": "2"}).json
    command("result", created["workflow"], "--timeout", str(PATIENCE))
    assert web.get(f"/bookings/{created['booking']}").json["status"] == "confirmed"
    with Session(app.registry["engine"]) as session:
        assert session.get_one(Payment, created["workflow"]).amount == 180
        text = session.scalars(select(Mail.text).where(Mail.recipient == "ada@example.org")).one()
        assert text == f"Room 12 is yours, receipt-{created['workflow']}."


def test_a_wrong_booking_starts_nothing(web: TestApp, ptemporal_dispatched: Any) -> None:
    web.post("/bookings", {"guest": "ada@example.org", "room": "a quiet one", "nights": "2"}, status=400)
    assert ptemporal_dispatched.workflows == []


def test_production_has_the_same_domains_and_tls() -> None:
    settings = get_appsettings(str(HERE / "production.ini"))
    assert settings["ptemporal.domains"] == "hotel.bookings hotel.payments"
    assert settings["ptemporal.tls_ca_file"] == f"{HERE}/tls/ca.pem"
