"""Who reaches the board, and what forged requests get. No page here asks the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationExecutionError

from pyramid_temporal_compat.app import Celery
from tests.board.site import HeaderPolicy, browser, site

PAGES = ("/ptemporal/", "/ptemporal/tasks", "/ptemporal/task?id=x", "/ptemporal/schedules", "/ptemporal/outbox")
FORMS = (
    *("retry", "revoke", "terminate", "pause-type", "resume-type"),
    *("pause-schedule", "resume-schedule", "trigger-schedule", "retry-outbox"),
)


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("guarded", set_as_current=False) as app:
        yield app


@pytest.fixture
def guarded(app: Celery) -> Any:
    return site(app, policy=HeaderPolicy())


def test_nobody_gets_in_without_a_grant(guarded: Any) -> None:
    for path in PAGES:
        browser(guarded).get(path, status=403)
        browser(guarded, "stranger").get(path, status=403)
    for form in FORMS:
        browser(guarded, "clerk").post(f"/ptemporal/do/{form}", {"id": "x"}, status=403)
        browser(guarded, "chief").get(f"/ptemporal/do/{form}", status=404)


def test_an_application_without_a_security_policy_shows_nothing(app: Celery) -> None:
    open_to_all = site(app)
    for path in PAGES:
        browser(open_to_all, "chief").get(path, status=403)
    browser(open_to_all, "chief").post("/ptemporal/do/retry", {"id": "x"}, status=403)


def test_a_form_without_the_token_of_this_browser_changes_nothing(guarded: Any) -> None:
    chief = browser(guarded, "chief")
    token = chief.get("/ptemporal/tasks?since=forever").html.find("input", {"name": "csrf_token"})
    assert token is None, "a page without rows has no form"
    chief.get("/ptemporal/outbox")  # gives the cookie
    for forged in ({}, {"csrf_token": ""}, {"csrf_token": "guessed"}, {"csrf_token": "\u2603"}):
        for form in FORMS:
            chief.post(f"/ptemporal/do/{form}", {"id": "x", **forged}, status=400)
    other = browser(guarded, "chief")
    other.get("/ptemporal/outbox")
    stolen = other.cookies["ptemporal_csrf"]
    chief.post("/ptemporal/do/retry-outbox", {"csrf_token": stolen}, status=400)


def test_every_answer_has_a_strict_policy_and_no_script_of_its_own(guarded: Any) -> None:
    page = browser(guarded, "chief").get("/ptemporal/outbox")
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Cache-Control"] == "no-store"
    attributes = {name for element in page.html.find_all() for name in element.attrs}
    assert "href" in attributes
    assert not [name for name in attributes if name == "style" or name.startswith("on")]
    assert all(script["src"].startswith("/ptemporal/static/") for script in page.html.find_all("script"))
    browser(guarded, "chief").get("/ptemporal/static/board.css", status=200)


def test_the_board_goes_below_a_prefix(app: Celery) -> None:
    page = browser(site(app, policy=HeaderPolicy(), prefix="ops"), "clerk").get("/ops/ptemporal/outbox")
    assert 'href="/ops/ptemporal/tasks"' in page.text
    assert 'href="/ops/ptemporal/static/board.css"' in page.text


@pytest.mark.parametrize("query", ["id=%ff%fe", "%ff=1"])
def test_an_address_that_is_no_utf8_is_refused(guarded: Any, query: str) -> None:
    browser(guarded, "chief").get(f"/ptemporal/outbox?{query}", status=400)


@pytest.mark.parametrize(
    "query", ["done=<b>", "done=failed%0d%0aSet-Cookie:x", "done=retried&count=<b>&of=9" + "9" * 99]
)
def test_nothing_of_the_address_gets_into_what_the_page_says(guarded: Any, query: str) -> None:
    page = browser(guarded, "clerk").get(f"/ptemporal/outbox?{query}")
    said = page.html.find(role="status")
    assert said is None or "some of some" in said.text
    assert "Set-Cookie" not in page.headers
    assert "<b>" not in page.text


def test_pages_stay_readable_while_the_server_is_away(guarded: Any, app: Celery) -> None:
    app.conf.update(ptemporal_address="127.0.0.1:1", ptemporal_connect_timeout=1)
    chief = browser(guarded, "chief")
    for path in PAGES[:-1]:
        page = chief.get(path)
        assert "127.0.0.1:1" in page.html.find(role="alert").text
        assert page.html.find("nav") is not None


def test_an_application_that_does_not_include_the_package_is_told(app: Celery) -> None:
    config = Configurator(settings={})
    config.include("pyramid_temporal_compat.board")
    with pytest.raises(ConfigurationExecutionError, match="add pyramid_temporal_compat to pyramid"):
        config.make_wsgi_app()
