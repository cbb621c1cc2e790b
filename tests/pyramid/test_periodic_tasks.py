"""`config.add_periodic_task`, `@periodic_task`, and a web process that says how the server's schedules differ."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationConflictError
from temporalio import workflow
from webtest import TestApp

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.app import APP_KEY
from pyramid_temporal_compat.schedules import crontab
from pyramid_temporal_compat.schedules.drift import log_drift
from pyramid_temporal_compat.schedules.sources import declared_entries
from tests.parts import wait_until
from tests.schedules.parts import kinds, synchronise

NIGHT = crontab(hour=3, minute=0)


@workflow.defn(name="Onboarding", sandboxed=False)
class Onboarding:
    @workflow.run
    async def run(self, user: str) -> None:
        pass


@pytest.fixture
def app(temporal_address: str) -> Iterator[Celery]:
    found = Celery(f"web-{uuid.uuid4().hex[:8]}", **{"ptemporal.address": temporal_address})
    found.task(name="add")(add)
    yield found
    found.conf["beat_schedule"].clear()
    synchronise(found)
    found.close()


def add(x: int, y: int) -> int:
    return x + y


def configurator(app: Celery) -> Any:
    config = Configurator(settings={"pyramid.includes": "pyramid_temporal_compat"})
    config.set_celery_app(app)
    return config


def test_the_directive_declares_tasks_canvases_and_workflows(app: Celery) -> None:
    config = configurator(app)
    task = app.tasks["add"]
    config.add_periodic_task(NIGHT, task, args=(1, 2), queue="slow")
    config.add_periodic_task(60, task.s(1, 1) | task.s(2), name="chain", overlap="skip")
    config.add_periodic_task(60, Onboarding, args=("ann",))
    config.add_periodic_task(60, f"{__name__}:Onboarding", args=("bob",), name="dotted")
    config.make_wsgi_app()
    entries = {each.name: each for each in declared_entries(app)}
    assert set(entries) == {"add", "chain", "Onboarding", "dotted"}
    assert (entries["add"].args, entries["add"].queue) == ((1, 2), "slow")
    assert (entries["chain"].policy.overlap, entries["chain"].canvas is not None) == ("skip", True)
    assert (entries["dotted"].workflow, entries["dotted"].args) == ("Onboarding", ("bob",))
    assert set(kinds(synchronise(app)).values()) == {"create"}


def test_two_declarations_of_one_name_are_a_conflict(app: Celery) -> None:
    config = configurator(app)
    config.include(lambda config: config.add_periodic_task(60, app.tasks["add"], name="a"))
    config.include(more)
    with pytest.raises(ConfigurationConflictError):
        config.make_wsgi_app()


def more(config: Any) -> None:
    config.add_periodic_task(90, Onboarding, name="a")


SCANNED = """
from temporalio import workflow
from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.pyramid import periodic_task
from pyramid_temporal_compat.schedules import crontab

@periodic_task(crontab(hour=3, minute=0), args=(1, 2), name="nightly", queue="slow")
@shared_task(name="scanned.add")
def add(x, y):
    return x + y

@periodic_task(60, args=("ann",))
@workflow.defn(sandboxed=False)
class Greeting:
    @workflow.run
    async def run(self, user: str) -> None:
        pass
"""


def test_a_scan_finds_decorated_tasks_and_workflows(
    app: Celery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"scanned_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text(SCANNED)
    monkeypatch.syspath_prepend(tmp_path)
    config = configurator(app)
    config.scan(name)
    config.make_wsgi_app()
    greeting, nightly = declared_entries(app)
    assert (greeting.name, greeting.workflow, greeting.args) == ("Greeting", "Greeting", ("ann",))
    assert (nightly.name, nightly.task, nightly.args, nightly.queue) == ("nightly", "scanned.add", (1, 2), "slow")


def serving(app: Celery) -> TestApp:
    """Return the application under test, with a view that asks the server and one that does not."""
    config = configurator(app)
    for name, ask in (("asks", lambda request: app.AsyncResult("none").state), ("idle", lambda request: "idle")):
        config.add_route(name, f"/{name}")
        config.add_view(ask, route_name=name, renderer="string")
    return TestApp(config.make_wsgi_app())


def test_a_web_process_says_once_how_the_server_differs(
    app: Celery, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparisons = []

    async def counted(client: Any, app: Any) -> None:
        comparisons.append(app)
        await log_drift(client, app)

    monkeypatch.setattr("pyramid_temporal_compat.schedules.drift.log_drift", counted)
    app.conf.beat_schedule = {"a": {"task": "add", "schedule": NIGHT, "args": (1, 2)}}
    web = serving(app)
    with caplog.at_level(logging.WARNING, "pyramid_temporal_compat"):
        web.get("/idle")
        assert not caplog.messages
        web.get("/asks")
        wait_until(lambda: any("differ" in line for line in caplog.messages), 60, "the difference is logged")
        for _ in range(2):  # the second request ends after a comparison of the first has begun
            web.get("/asks")
    assert comparisons == [app]
    (line,) = [line for line in caplog.messages if "differ" in line]
    assert line.endswith("differ from the declared ones: 1 to create; ptemporal-compat beat makes them equal")


def test_a_web_process_that_has_not_imported_a_task_compares_names(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.beat_schedule = {"a": {"task": "not imported here", "schedule": NIGHT}}
    with caplog.at_level(logging.WARNING, "pyramid_temporal_compat"):
        serving(app).get("/asks")
        wait_until(lambda: any("1 to create" in line for line in caplog.messages), 60, "the difference is logged")


def test_a_web_process_serves_without_a_server(caplog: pytest.LogCaptureFixture) -> None:
    away = Celery(f"away-{uuid.uuid4().hex[:8]}", **{"ptemporal.address": "localhost:1"})
    away.conf.beat_schedule = {"a": {"task": "add", "schedule": NIGHT}}
    assert serving(away).get("/idle").text == "idle"
    assert not caplog.messages
    assert away.registry[APP_KEY] is away
    away.close()
