"""Sessions as applications use them: the row commits together with the application's own changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zope.sqlalchemy
from pyramid.threadlocal import RequestContext, get_current_request
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError, ResourceClosedError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import Delete, Update

from pyramid_temporal_compat.outbox import metadata, outbox
from pyramid_temporal_compat.outbox.relay import Relay
from tests.enlist.application import Item, Member, analyse
from tests.outbox.parts import OutboxSite, running, unique, without_dispatch


@pytest.mark.parametrize("end", ["close", "rollback"])
@pytest.mark.parametrize("name", ["dbsession", "two_phase_session"])
def test_a_session_that_a_view_has_ended_after_it_only_read_takes_the_row(
    site: OutboxSite, monkeypatch: pytest.MonkeyPatch, end: str, name: str
) -> None:
    monkeypatch.setattr(site.app.outbox, "name", name)

    def before(request: Any) -> Any:
        session = getattr(request, name)
        session.scalars(select(Item)).all()
        getattr(session, end)()
        return analyse.delay("x")

    def after(request: Any) -> Any:
        session = getattr(request, name)
        session.scalars(select(Item)).all()
        analyse.delay("x")
        getattr(session, end)()

    def in_a_hook(request: Any) -> Any:
        analyse.delay("x")
        request.tm.get().addBeforeCommitHook(getattr(getattr(request, name), end))

    with without_dispatch():
        for view in (before, after, in_a_hook):
            site.visit(view)
    assert len(site.rows()) == 3


def test_a_session_that_a_view_has_ended_after_it_had_written_fails_and_leaves_no_row(site: OutboxSite) -> None:
    name = unique()

    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=name))
        request.dbsession.flush()
        request.dbsession.rollback()
        return analyse.delay("x")

    with without_dispatch(), pytest.raises(ResourceClosedError):
        site.visit(view)
    assert site.rows() == []
    assert not site.has_item(name)


def test_a_call_after_a_flush_that_failed_and_was_rolled_back_has_a_row(site: OutboxSite) -> None:
    name = unique()

    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=name))
        try:
            request.dbsession.flush()
        except IntegrityError:
            request.dbsession.rollback()
        analyse.delay("x")

    with without_dispatch():
        site.visit(view)
        site.visit(view)
    assert len(site.rows()) == 2


def test_a_call_of_another_thread_in_the_requests_transaction_has_a_row(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        def work() -> None:
            with RequestContext(request):
                analyse.delay("x")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    with without_dispatch():
        site.visit(view)
    assert len(site.rows()) == 1


def test_a_session_of_a_tenants_schema_keeps_its_row_where_relays_look(site: OutboxSite) -> None:
    tenants = site.engine.execution_options(schema_translate_map={None: "tenant"})
    with site.engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS tenant"))
    metadata.create_all(tenants)

    def view(request: Any) -> Any:
        request.dbsession.connection(execution_options={"schema_translate_map": {None: "tenant"}})
        return analyse.delay("x")

    with without_dispatch():
        site.visit(view)
    assert site.count() == 1
    with tenants.connect() as connection:
        assert connection.execute(select(outbox)).all() == []


def test_a_commit_that_fails_in_its_finish_has_a_row_if_its_data_is_there(site: OutboxSite) -> None:
    name = unique()

    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=name))
        request.tm.get().join(Member(request.tm, "tpc_finish"))
        analyse.delay("x")

    with pytest.raises(RuntimeError, match="tpc_finish"):
        site.visit(view)
    assert site.has_item(name)
    assert len(site.rows()) == 1


def test_a_view_that_commits_has_a_row_for_each_of_its_transactions(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=unique()))
        first = analyse.delay("x")
        request.tm.commit()
        request.tm.begin()
        return first, analyse.delay("y")

    with without_dispatch():
        site.visit(view)
    assert [row.messages for row in site.rows()] == [1, 1]
    site.clear()
    assert site.has_started(*site.visit(view))
    site.is_empty()


def test_a_call_in_the_commit_of_a_bundle_is_found_by_its_id(site: OutboxSite) -> None:
    called: list[Any] = []

    def view(request: Any) -> Any:
        called.extend(analyse.delay("before") for _ in range(10))
        event.listen(request.dbsession, "before_commit", lambda *_: called.append(analyse.delay("in the commit")))

    with without_dispatch():
        site.visit(view)
    assert [row.messages for row in site.rows()] == [10, 1]
    site.hurry()
    with running(Relay(site.app)):
        site.is_empty()
    assert [site.app.AsyncResult(task.id).name for task in called] == [analyse.name] * 11


# --- of several kinds --------------------------------------------------------------------------------


class Routed(Session):
    """A session that writes to one database and reads from its replica, as in SQLAlchemy's documentation."""

    replica: Engine

    def get_bind(self, mapper: Any = None, *, clause: Any = None, **_: Any) -> Any:
        return self.bind if self._flushing or isinstance(clause, (Update, Delete)) else self.replica


SESSIONS: list[Session] = []


def _made(kind: type[Session], **options: Any) -> Session:
    request = get_current_request()
    assert request is not None
    if not SESSIONS:
        SESSIONS.append(kind(request.registry["engine"]))
        zope.sqlalchemy.register(SESSIONS[0], transaction_manager=request.tm, **options)
    return SESSIONS[0]


def routed() -> Session:
    session = _made(Routed)
    assert isinstance(session, Routed)
    assert isinstance(session.bind, Engine)
    options = {"options": "-c default_transaction_read_only=on"}
    session.replica = create_engine(session.bind.url, connect_args=options, poolclass=NullPool)
    return session


def kept() -> Session:
    return _made(Session, keep_session=True)


@pytest.fixture
def session_of(site: OutboxSite, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    monkeypatch.setattr(site.app.outbox, "name", f"{__name__}:{request.param}")
    yield
    while SESSIONS:
        SESSIONS.pop().close()


@pytest.mark.parametrize("session_of", [routed.__name__], indirect=True)
def test_a_session_that_reads_in_a_replica_writes_the_row_in_the_primary(site: OutboxSite, session_of: None) -> None:
    with without_dispatch():
        site.visit(lambda request: analyse.delay("x"))
    assert len(site.rows()) == 1


@pytest.mark.parametrize("session_of", [kept.__name__], indirect=True)
def test_a_session_that_outlives_its_transactions_keeps_a_row_for_each(site: OutboxSite, session_of: None) -> None:
    def view(request: Any) -> Any:
        first = analyse.delay("x")
        request.tm.commit()
        request.tm.begin()
        return first, analyse.delay("y")

    with without_dispatch():
        site.visit(view)
    assert [row.messages for row in site.rows()] == [1, 1]
