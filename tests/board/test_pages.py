"""The pages of the board, with tasks whose names, arguments and errors are attacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from webtest import TestApp

from pyramid_temporal_compat.canvas import chain
from pyramid_temporal_compat.control import process_state
from tests.board.site import HeaderPolicy, browser, site
from tests.observe.office import Office
from tests.parts import wait_until

ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def office(temporal_address: str) -> Iterator[Office]:
    found = Office(temporal_address, "pages")
    worker = found.worker()
    evil = found.app.task(name=f"{found.prefix}.{ATTACK}")(lambda what: what)
    found.ended(
        evil.apply_async((ATTACK,), headers={"note": ATTACK}),
        found.fails.delay(ATTACK, password="sesame"),
        found.add.delay(1),
        chain(found.add.s(1), found.fails.s()).apply_async(),
    )
    ended = frozenset({"SUCCESS", "FAILURE"})
    found.listed(5, states=ended, members=True)
    yield found
    worker.stop()
    process_state.paused_types.clear()
    found.app.close()


@pytest.fixture(scope="module")
def mounted(office: Office) -> Any:
    return site(office.app, policy=HeaderPolicy())


@pytest.fixture
def chief(mounted: Any) -> TestApp:
    return browser(mounted, "chief")


def is_harmless(page: Any) -> bool:
    """Return whether the attack is on the page as text only."""
    scripts = [script for script in page.html.find_all("script") if not script.get("src")]
    return not scripts and page.html.find("img") is None and "<script>alert" not in page.text


def task_of(office: Office, **asked: Any) -> str:
    return office.rows(**asked)[0].id


def test_overview_shows_queue_worker_and_failures(chief: TestApp, office: Office) -> None:
    page = chief.get("/ptemporal/")
    text = page.html.get_text(" ")
    for shown in (office.queue, office.prefix, "LookupError", "has no outbox"):
        assert shown in text
    assert is_harmless(page)


def test_tasks_are_searched_and_paged_by_the_server(chief: TestApp, office: Office) -> None:
    page = chief.get("/ptemporal/tasks", {"queue": office.queue, "state": "FAILURE", "error": "*alert(2)*"})
    (row,) = page.html.select("table.tasks tbody tr")
    assert "LookupError" in row.get_text()
    assert "sesame" not in page.text
    assert is_harmless(page)
    first = chief.get("/ptemporal/tasks", {"queue": office.queue, "members": "1", "size": "25"})
    assert len(first.html.select("table.tasks tbody tr")) == 5
    assert is_harmless(first)


@pytest.mark.parametrize(
    "query",
    [
        {"page": "9" * 500},
        {"page": "WyIiLDk5OTk5OTk5OTldCg"},
        {"page": "../../etc/passwd"},
        {"state": ATTACK},
        {"since": ATTACK},
        {"name": "' OR 1=1 --"},
        {"name": "[" * 900},
        {"queue": ATTACK * 50},
        {"size": "99999999999"},
        {"error": "*" * 900},
    ],
    ids=lambda query: next(iter(query)),
)
def test_broken_filters_get_a_page(chief: TestApp, query: dict[str, str]) -> None:
    page = chief.get("/ptemporal/tasks", query)
    assert is_harmless(page)
    assert len(page.html.select("table.tasks tbody tr")) <= 100


def test_one_task_shows_call_error_and_canvas_as_text(chief: TestApp, office: Office) -> None:
    for row in office.rows(members=True):
        page = chief.get("/ptemporal/task", {"id": row.id})
        assert is_harmless(page)
        assert "sesame" not in page.text
    canvas = chief.get("/ptemporal/task", {"id": task_of(office, name=office.fails.name, arguments="()")})
    assert len(canvas.html.select("svg.canvas g.node")) == 3
    missing = chief.get("/ptemporal/task", {"id": ATTACK}, status=404)
    assert is_harmless(missing)


def test_a_trace_becomes_a_link_only_if_it_is_one(chief: TestApp, office: Office) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    office.app.conf.update(ptemporal_trace_url="https://traces.example/t/{trace_id}")
    for header, linked in ((f"00-{trace}-00f067aa0ba902b7-01", 1), ("00-javascript:alert(1)-x-01", 0), (7, 0)):
        result = office.add.apply_async((1,), headers={"traceparent": header})
        page = chief.get("/ptemporal/task", {"id": result.id})
        assert len(page.html.select(f'a[href="https://traces.example/t/{trace}"]')) == linked


def test_one_who_may_only_look_gets_no_buttons(mounted: Any, office: Office) -> None:
    clerk = browser(mounted, "clerk")
    for path in ("/ptemporal/", "/ptemporal/tasks", f"/ptemporal/task?id={task_of(office, name=office.add.name)}"):
        page = clerk.get(path)
        assert not page.html.select('form[method="post"] button')
        assert "csrf_token" not in page.text


def test_a_task_runs_anew_and_the_page_of_the_new_run_opens(chief: TestApp, office: Office) -> None:
    failed = task_of(office, error="*alert(2)*")
    form = next(
        form
        for form in chief.get("/ptemporal/task", {"id": failed}).forms.values()
        if form.action == "/ptemporal/do/retry"
    )
    answer = form.submit()
    assert answer.status_int == 303
    page = answer.follow()
    assert f"{failed}-retry-1" in page.text
    assert "run anew: 1 of 1" in page.html.find(role="status").text
    again = form.submit().follow()
    assert "No task runs anew" in again.html.find(role="status").text


def test_chosen_tasks_keep_the_filters_of_their_list(chief: TestApp, office: Office) -> None:
    delayed = [office.add.apply_async((number,), countdown=3600) for number in (7, 8)]
    office.listed(2, states=frozenset({"PENDING"}))
    page = chief.get("/ptemporal/tasks", {"queue": office.queue, "state": "PENDING"})
    form = page.forms["chosen"]
    for box in form.fields["id"]:
        box.checked = True
    form.action = "/ptemporal/do/revoke"
    answer = form.submit()
    query = dict(parse_qsl(urlsplit(answer.location).query))
    assert query == {"queue": office.queue, "state": "PENDING", "done": "revoked", "count": "2"}
    office.ended(*delayed)
    assert {result.state for result in delayed} == {"REVOKED"}


def test_redirects_go_nowhere_else(chief: TestApp, office: Office) -> None:
    page = chief.get("/ptemporal/tasks", {"queue": office.queue})
    form = page.forms["chosen"]
    form["back"] = "name=x%0d%0aSet-Cookie:+a=b&evil=1&page=//evil.example"
    form.fields["id"][0].checked = True
    answer = form.submit(headers={"Referer": "https://evil.example/"})
    assert answer.location.startswith("http://localhost/ptemporal/task")
    assert "evil=1" not in answer.location
    assert "\n" not in answer.location
    assert "a" not in chief.cookies


def test_a_type_is_paused_and_resumed(chief: TestApp, office: Office) -> None:
    path = f"/ptemporal/task?id={task_of(office, name=office.add.name, states=frozenset({'SUCCESS'}))}"
    form = next(form for form in chief.get(path).forms.values() if form.action == "/ptemporal/do/pause-type")
    page = form.submit().follow()
    assert "are paused" in page.html.find(role="status").text
    assert "All tasks of this name are paused." in page.text, "the page does not wait for the server's list"
    wait_until(lambda: "by chief" in chief.get("/ptemporal/").text, 60, "the reason on the overview")
    form = next(form for form in chief.get(path).forms.values() if form.action == "/ptemporal/do/resume-type")
    form.submit().follow()
    wait_until(lambda: "by chief" not in chief.get("/ptemporal/").text, 60, "no pause on the overview")
