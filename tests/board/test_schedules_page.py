"""The page of the schedules, and what its buttons do on the server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from webtest import TestApp

from tests.board.site import HeaderPolicy, browser, site
from tests.observe.office import Office
from tests.parts import wait_until
from tests.schedules.parts import synchronise

PAGE = "/ptemporal/schedules"


@pytest.fixture
def office(temporal_address: str) -> Iterator[Office]:
    """An office with one schedule, which is far from due."""
    found = Office(temporal_address, f"timed-{uuid.uuid4().hex[:8]}")
    found.app.conf.beat_schedule = {"<b>weekly": {"task": found.notes.name, "schedule": 604800.0, "args": ("week",)}}
    synchronise(found.app)
    yield found
    found.app.conf.beat_schedule.clear()
    synchronise(found.app)
    found.app.close()


@pytest.fixture
def chief(office: Office) -> TestApp:
    return browser(site(office.app, policy=HeaderPolicy()), "chief")


def shown(chief: TestApp, state: str) -> Any:
    """Return the page, once it shows the schedule in this state: the server's list lags behind by moments."""

    def page() -> Any:
        found = chief.get(PAGE)
        states = [each.get_text() for each in found.html.select("tbody .state")]
        return found if states == [state] else None

    return wait_until(page, 60, f"a schedule that is {state}")


def press(page: Any, form: str) -> str:
    """Send a form of the page, and return what the next page says."""
    (found,) = (each for each in page.forms.values() if each.action == f"/ptemporal/do/{form}")
    return str(found.submit().follow().html.find(role="status").text)


def test_a_schedule_is_paused_resumed_and_triggered(chief: TestApp, office: Office) -> None:
    page = shown(chief, "on time")
    assert "<b>weekly" in page.html.find("tbody").get_text()
    assert page.html.find("b") is None
    assert press(page, "pause-schedule") == "The schedule is paused."
    page = shown(chief, "paused")
    assert "paused on the board" in page.text
    assert press(page, "resume-schedule") == "The schedule is resumed."
    page = shown(chief, "on time")
    assert press(page, "trigger-schedule") == "The schedule's task starts now."
    (row,) = office.listed(1, name=office.notes.name)
    assert row.arguments == "('week')"
    run = wait_until(lambda: chief.get(PAGE).html.select_one("td[data-label='Last began'] a"), 60, "the last run")
    assert chief.get(run["href"]).html.find("h1").text == office.notes.name
    assert dict(parse_qsl(urlsplit(run["href"]).query)) == {"id": row.id}


def test_a_schedule_of_another_application_is_refused(chief: TestApp) -> None:
    page = shown(chief, "on time")
    (form,) = (each for each in page.forms.values() if each.action == "/ptemporal/do/trigger-schedule")
    form["name"].force_value("foreign")
    form.submit(status=400)
