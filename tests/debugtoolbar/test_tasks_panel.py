"""The panel of pyramid_debugtoolbar: what a request has called, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import webtest

pytest.importorskip("pyramid_debugtoolbar", reason="pyramid_debugtoolbar is not installed")

from pyramid.config import Configurator

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.current import set_current_app
from pyramid_temporal_compat.outbox import metadata
from tests.parts import wait_until
from tests.worker.shop import models

app = Celery("paneled", set_as_current=False)


@app.task(name="shop.pay")
def pay(amount: Any) -> Any:
    return amount


def commits(request: Any) -> str:
    pay.delay("<b>5</b>")
    return "ok"


def raises(request: Any) -> str:
    pay.delay(1)
    raise RuntimeError("no")


def aborts(request: Any) -> str:
    pay.delay(1)
    request.tm.doom()
    return "ok"


def rolls_back(request: Any) -> str:
    pay.delay(1)
    point = request.tm.savepoint()
    pay.delay(2)
    point.rollback()
    return "ok"


def at_once(request: Any) -> str:
    request.tm.abort()
    pay.apply_async((7,), queue="other")
    request.tm.begin()
    return "ok"


def bundles(request: Any) -> str:
    for number in range(12):
        pay.delay(number)
    return "ok"


def site_of(app: Celery, views: Iterable[Callable[[Any], str]], **settings: str) -> Any:
    """Return an application with the toolbar, whose requests have a transaction."""
    set_current_app(None)  # else the application adopts an app of another test
    settings |= {
        "tm.manager_hook": "pyramid_tm.explicit_manager",
        "debugtoolbar.hosts": "0.0.0.0/0",
        "debugtoolbar.includes": "pyramid_temporal_compat.debugtoolbar",
    }
    config = Configurator(settings=settings)
    for package in ("pyramid_tm", "pyramid_temporal_compat", "pyramid_debugtoolbar"):
        config.include(package)
    if "sqlalchemy.url" in settings:
        config.include(models)
    config.set_celery_app(app)  # type: ignore[attr-defined]
    for view in views:
        config.add_route(view.__name__, f"/{view.__name__}")
        config.add_view(view, route_name=view.__name__, renderer="string")
    return webtest.TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})


@pytest.fixture
def site(temporal_address: str) -> Iterator[Any]:
    views = (commits, raises, aborts, rolls_back, at_once, bundles)
    yield site_of(app, views, **{"ptemporal.address": temporal_address})
    app.close()


def panel(site: Any, path: str) -> tuple[list[list[str]], str]:
    """Return the rows of the panel for one request, each as the texts of its cells; and the panel's HTML."""
    site.get(path)
    return shown(site)


def shown(site: Any) -> tuple[list[list[str]], str]:
    """Return what the panel shows of the last request."""
    page = site.get("/_debug_toolbar/").text
    found = re.search(r'<div[^>]*id="pDebugPanel-ptemporal_tasks-content".*?</table>', page, re.DOTALL)
    assert found, page
    rows = re.findall(r"<tr>(.*?)</tr>", found[0], re.DOTALL)[1:]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<br>|<[^b][^>]*>", " ", cell).split()) for cell in row] for row in cells], found[0]


def test_a_call_that_left_with_the_commit(site: Any) -> None:
    ((task, arguments, queue, called, became, after),), html = panel(site, "/commits")
    assert task.startswith("shop.pay ")
    assert "&lt;b&gt;5&lt;/b&gt;" in arguments
    assert "<b>5</b>" not in html
    assert queue == "celery"
    assert "test_tasks_panel.py" in called
    assert " in commits, after " in called
    assert became == "sent"
    assert after.endswith(" ms")


def test_a_call_of_an_aborted_transaction(site: Any) -> None:
    (row,), _ = panel(site, "/aborts")
    assert row[4].startswith("dropped the transaction was aborted")


def test_a_call_under_a_savepoint_that_was_rolled_back(site: Any) -> None:
    (first, second), _ = panel(site, "/rolls_back")
    assert first[4] == "sent"
    assert second[4].startswith("dropped a savepoint was rolled back, test_tasks_panel.py")
    assert second[4].endswith(" in rolls_back")


def test_a_call_outside_a_transaction_and_calls_that_leave_as_a_bundle(site: Any) -> None:
    (row,), _ = panel(site, "/at_once")
    assert (row[2], row[4]) == ("other", "sent")
    rows, _ = panel(site, "/bundles")
    assert [row[4] for row in rows] == ["sent"] * 12


def test_the_abort_of_a_request_that_raised_names_no_line_of_pyramid(site: Any) -> None:
    site.get("/raises", status=500)
    (row,), _ = shown(site)
    assert row[4] == "dropped the transaction was aborted"


def test_a_request_that_does_not_wait_shows_what_is_sent_later(site: Any) -> None:
    app.conf["ptemporal.dispatch"] = "background"
    try:
        (row,), html = panel(site, "/commits")
        assert "the request did not wait" in html
        assert row[4] in ("on its way", "sent")
        wait_until(lambda: shown(site)[0][0][4] == "sent")
    finally:
        app.conf["ptemporal.dispatch"] = "wait"


def test_a_call_that_the_server_did_not_get(tmp_path: Path) -> None:
    database = {"sqlalchemy.url": f"sqlite:///{tmp_path}/rows.db", "ptemporal.outbox": "dbsession"}
    away = {"ptemporal.address": "127.0.0.1:1", "ptemporal.dispatch_timeout": "0.3"}
    for settings, became in (({}, "not started: the log says why"), (database, "kept by the outbox")):
        alone = Celery("alone", set_as_current=False)
        task = alone.task(name="shop.pay")(lambda amount: amount)

        def calls(request: Any, task: Any = task) -> str:
            task.delay(1)
            return "ok"

        site = site_of(alone, [calls], **away, **settings)
        if engine := site.app.registry.get("engine"):
            metadata.create_all(engine)
        (row,), _ = panel(site, "/calls")
        alone.close()
        assert row[4] == became
