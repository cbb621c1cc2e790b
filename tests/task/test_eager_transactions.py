"""`task_always_eager` in an application with a database: each eager run has a request and transaction of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import transaction
import zope.sqlalchemy
from pyramid.config import Configurator
from pyramid.scripting import prepare
from sqlalchemy import create_engine, select
from sqlalchemy.orm import sessionmaker
from webtest import TestApp

from pyramid_temporal_compat import Celery, chain
from tests.worker.shop import Base, Line

MANAGERS = {
    "explicit": {"tm.manager_hook": "pyramid_tm.explicit_manager"},
    "thread-local": {},
}


class Site:
    """An application under `task_always_eager`, whose tasks write lines."""

    def __init__(self, url: str, settings: dict[str, str]) -> None:
        self.app = Celery("eager-site")
        self.app.conf.task_always_eager = True
        self.engine = create_engine(url)
        Base.metadata.create_all(self.engine)
        self.order: Callable[[], Any] = lambda: None
        """What the view does beside writing its own line."""
        with Configurator(settings={"pyramid.includes": "pyramid_tm pyramid_temporal_compat", **settings}) as config:
            config.add_request_method(self._dbsession, "dbsession", reify=True)
            config.add_route("order", "/")
            config.add_view(self._view, route_name="order", renderer="string")
            self.wsgi = TestApp(config.make_wsgi_app())
        self.registry = config.registry

    def _dbsession(self, request: Any) -> Any:
        session = sessionmaker(bind=self.engine)()
        zope.sqlalchemy.register(session, transaction_manager=request.tm)
        return session

    def _view(self, request: Any) -> str:
        request.dbsession.add(Line(text="view"))
        self.result = self.order()
        return "ordered"

    def lines(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.scalars(select(Line.text).order_by(Line.id)))


@pytest.fixture(params=list(MANAGERS))
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    site = Site(f"sqlite:///{tmp_path / 'site.sqlite'}", MANAGERS[request.param])

    @site.app.task(bind=True, name="pack")
    def pack(self: Any, text: str) -> str:
        self.pyramid_request.dbsession.add(Line(text=text))
        if text == "broken":
            self.pyramid_request.dbsession.flush()
            raise KeyError("no such parcel")
        return text

    yield site
    site.app.close()
    site.engine.dispose()


def test_a_task_that_a_view_calls_writes_in_a_transaction_of_its_own(site: Site) -> None:
    site.order = lambda: site.app.tasks["pack"].delay("task")
    site.wsgi.get("/", status=200)
    assert site.lines() == ["view", "task"]
    assert site.result.get() == "task"


def test_the_steps_of_a_canvas_write_in_transactions_of_their_own(site: Site) -> None:
    pack = site.app.tasks["pack"]
    site.order = lambda: chain(pack.si("first"), pack.si("second")).delay()
    site.wsgi.get("/", status=200)
    assert site.lines() == ["view", "first", "second"]


def test_a_task_that_a_script_calls_writes_in_a_transaction_of_its_own(site: Site) -> None:
    with prepare(registry=site.registry) as env, env["request"].tm:
        request = env["request"]
        result = site.app.tasks["pack"].delay("task")
        request.dbsession.add(Line(text="script"))
    assert site.lines() == ["script", "task"]
    assert result.get() == "task"


def test_a_task_called_by_an_eager_task_runs_after_the_commit_of_that_task(site: Site) -> None:
    @site.app.task(bind=True, name="calls")
    def calls(self: Any) -> None:
        site.app.tasks["pack"].delay("called")
        self.pyramid_request.dbsession.add(Line(text="caller"))

    site.order = calls.delay
    site.wsgi.get("/", status=200)
    assert site.lines() == ["view", "caller", "called"]


def test_an_error_is_logged_and_rolls_back_only_the_tasks_work(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.order = lambda: (site.app.tasks["pack"].delay("broken"), site.app.tasks["pack"].delay("task"))
    with caplog.at_level(logging.ERROR):
        site.wsgi.get("/", status=200)
    assert site.lines() == ["view", "task"]
    assert [(result.state) for result in site.result] == ["FAILURE", "SUCCESS"]
    (record,) = caplog.records
    assert "pack" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


def test_an_error_that_is_to_propagate_is_logged_and_the_other_tasks_run(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.app.conf.task_eager_propagates = True
    site.order = lambda: (site.app.tasks["pack"].delay("broken"), site.app.tasks["pack"].delay("task"))
    with caplog.at_level(logging.ERROR):
        site.wsgi.get("/", status=200)
    assert site.lines() == ["view", "task"]
    assert "run after the commit of its caller, raised" in caplog.text
    assert "no such parcel" in caplog.text


def test_apply_in_an_after_commit_hook_has_a_transaction_of_its_own(site: Site) -> None:
    with prepare(registry=site.registry) as env, env["request"].tm as begun:
        env["request"].dbsession.add(Line(text="script"))
        begun.addAfterCommitHook(lambda committed: site.app.tasks["pack"].apply(("hook",)))
    assert site.lines() == ["script", "hook"]


def test_apply_where_only_the_threads_own_transaction_has_begun_leaves_that_alone(site: Site) -> None:
    begun = transaction.begin()
    site.app.tasks["pack"].apply(("task",))
    assert transaction.get() is begun
    transaction.abort()
    assert site.lines() == ["task"]
