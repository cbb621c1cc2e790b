"""A transaction's messages are in its own database from the commit until the server has accepted them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import transaction
import zope.sqlalchemy
from pyramid_retry import RetryableException
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from pyramid_temporal_compat import chain
from pyramid_temporal_compat.exceptions import ImproperlyConfigured
from pyramid_temporal_compat.outbox import outbox
from pyramid_temporal_compat.outbox.relay import Relay
from tests.enlist.application import Item, Member, analyse
from tests.outbox.parts import OutboxSite, running, statements, unique, without_dispatch
from tests.parts import ROOT


def test_the_row_of_a_commit_is_gone_once_its_tasks_have_started(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=unique()))
        return analyse.delay("x"), analyse.delay("y")

    assert site.has_started(*site.visit(view))
    site.is_empty()


def test_a_process_that_dies_between_commit_and_dispatch_leaves_a_row_that_a_relay_sends(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=unique()))
        return analyse.delay("x"), analyse.delay("y")

    with without_dispatch():
        tasks = site.visit(view)
    (row,) = site.rows()
    assert (row.messages, row.version, row.namespace, row.attempts) == (2, 1, "default", 0)
    assert row.due > row.created
    assert not site.has_started(*tasks)
    site.hurry()
    with running(Relay(site.app)):
        site.is_empty()
    assert site.has_started(*tasks)


def test_a_row_costs_the_transaction_one_statement(site: OutboxSite) -> None:
    def add(request: Any) -> Any:
        request.dbsession.add(Item(name=unique()))

    def call(request: Any) -> Any:
        add(request)
        for _ in range(20):
            analyse.delay("x")

    with without_dispatch():
        site.visit(call)
        with statements(site.engine) as without:
            site.visit(add)
        with statements(site.engine) as with_calls:
            site.visit(call)
    assert len(with_calls) == len(without) + 1
    assert [found for found in with_calls if "ptemporal_outbox" in found] == [with_calls[-1]]
    assert with_calls[-1].startswith("INSERT INTO ptemporal_outbox")
    assert site.rows()[-1].messages == 20


def test_an_aborted_or_failed_transaction_leaves_no_row(site: OutboxSite) -> None:
    def raises(request: Any) -> Any:
        analyse.delay("x")
        raise ZeroDivisionError

    def doomed(request: Any) -> Any:
        analyse.delay("x")
        request.tm.doom()

    def fails_in_the_commit(request: Any) -> Any:
        analyse.delay("x")
        request.tm.get().join(Member(request.tm, "tpc_vote"))

    with without_dispatch(), statements(site.engine) as sent:
        with pytest.raises(ZeroDivisionError):
            site.visit(raises)
        site.visit(doomed)
        assert sent == []
        with pytest.raises(RuntimeError, match="tpc_vote"):
            site.visit(fails_in_the_commit)
    assert site.rows() == []


def test_a_savepoint_that_is_rolled_back_drops_exactly_its_messages(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=unique()))
        before = analyse.delay("before")
        point = request.tm.savepoint()
        within = analyse.delay("within")
        point.rollback()
        nested = request.dbsession.begin_nested()
        also = analyse.delay("also within")
        nested.rollback()
        return before, within, also, analyse.delay("after")

    with without_dispatch():
        before, within, also, after = site.visit(view)
    assert [row.messages for row in site.rows()] == [2]
    site.hurry()
    with running(Relay(site.app)):
        site.is_empty()
    assert site.which_started([before, within, also, after]) == [True, False, False, True]


def test_no_row_is_written_if_savepoints_dropped_every_call(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        point = request.tm.savepoint()
        analyse.delay("within")
        point.rollback()

    with without_dispatch(), statements(site.engine) as sent:
        site.visit(view)
    assert sent == []


def test_a_session_that_the_request_did_not_use_takes_the_row(site: OutboxSite) -> None:
    with without_dispatch():
        site.visit(lambda request: analyse.delay("x"))
    assert len(site.rows()) == 1


def test_a_session_that_was_only_read_from_is_committed_with_the_row(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        request.dbsession.scalars(select(Item)).all()
        return analyse.delay("x")

    with without_dispatch():
        site.visit(view)
    assert len(site.rows()) == 1


def test_each_attempt_of_a_request_has_its_own_row_and_only_the_last_one_stays(site: OutboxSite) -> None:
    attempts = []

    def view(request: Any) -> Any:
        attempts.append(analyse.delay("x"))
        if len(attempts) < 3:
            raise RetryableException

    with without_dispatch():
        site.visit(view)
    site.hurry()
    with running(Relay(site.app)):
        site.is_empty()
    assert site.which_started(attempts) == [False, False, True]


def test_a_two_phase_session_takes_the_row(site: OutboxSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def view(request: Any) -> Any:
        return analyse.delay("x")

    monkeypatch.setattr(site.app.outbox, "name", "two_phase_session")
    with without_dispatch():
        site.visit(view)
    assert len(site.rows()) == 1
    task = site.visit(view)
    assert site.has_started(task)
    monkeypatch.undo()


def test_a_canvas_is_kept_as_one_unit(site: OutboxSite) -> None:
    with without_dispatch():
        result = site.visit(lambda request: chain(analyse.si("x"), analyse.si("y")).delay())
    assert site.rows()[0].messages == 2
    site.hurry()
    with running(Relay(site.app)):
        site.is_empty()
    assert site.has_started(result.id.rpartition("/")[0] or result.id)


def test_a_bundle_is_one_unit_in_the_row(site: OutboxSite) -> None:
    with without_dispatch():
        tasks = site.visit(lambda request: [analyse.delay("x") for _ in range(10)])
    (row,) = site.rows()
    assert (row.messages, row.units.count(b"ptemporal-tree")) == (10, 1)
    site.hurry()
    with running(Relay(site.app)):
        site.is_empty()
    assert {site.app.AsyncResult(task.id).name for task in tasks} == {analyse.name}


# --- while it commits --------------------------------------------------------------------------------


def test_a_call_in_a_flush_of_the_commit_is_kept(site: OutboxSite) -> None:
    called = []

    def view(request: Any) -> Any:
        event.listen(request.dbsession, "after_flush", lambda *_: called.append(analyse.delay("x")))
        request.dbsession.add(Item(name=unique()))

    with without_dispatch():
        site.visit(view)
    assert [row.messages for row in site.rows()] == [1]
    site.clear()
    site.visit(view)
    assert site.has_started(called[-1])
    site.is_empty()


def test_a_call_after_the_row_was_written_has_a_row_of_its_own(site: OutboxSite) -> None:
    called = []

    def view(request: Any) -> Any:
        called.append(analyse.delay("before"))
        event.listen(request.dbsession, "before_commit", lambda *_: called.append(analyse.delay("in the commit")))

    with without_dispatch():
        site.visit(view)
    assert [row.messages for row in site.rows()] == [1, 1]
    site.clear()
    called.clear()
    site.visit(view)
    assert site.has_started(*called)
    site.is_empty()


def test_calls_in_before_commit_hooks_are_kept(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        point = request.tm.savepoint()
        analyse.delay("dropped")
        point.rollback()
        request.tm.get().addBeforeCommitHook(lambda: analyse.delay("x"))

    with without_dispatch():
        site.visit(view)
    assert [row.messages for row in site.rows()] == [1]


def test_a_call_after_the_session_has_committed_leaves_with_the_hook(site: OutboxSite) -> None:
    called = []

    def view(request: Any) -> Any:
        analyse.delay("before")
        event.listen(request.dbsession, "after_commit", lambda *_: called.append(analyse.delay("after")))

    site.visit(view)
    assert site.has_started(*called)
    site.is_empty()


# --- which session -----------------------------------------------------------------------------------


def test_a_session_without_a_request_is_named_by_its_dotted_name(
    site: OutboxSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.app.outbox, "name", f"{__name__}:{NAMED}")
    monkeypatch.setitem(globals(), NAMED, scoped_session(sessionmaker(site.engine)))
    zope.sqlalchemy.register(globals()[NAMED])
    with without_dispatch(), transaction.manager:
        task = analyse.delay("x")
    assert len(site.rows()) == 1
    monkeypatch.setitem(site.app.conf, "ptemporal.outbox", f"{__name__}:{NAMED}")
    site.hurry()
    with running(Relay(site.app)):
        site.is_empty()
    assert site.has_started(task)
    globals()[NAMED].remove()


NAMED = "SCOPED"


def test_a_call_without_a_session_for_its_row_is_refused_at_once(
    site: OutboxSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(reason: str, name: str | None = None) -> None:
        if name is not None:
            monkeypatch.setattr(site.app.outbox, "name", name)
        with pytest.raises(ImproperlyConfigured, match=reason):
            site.visit(lambda request: analyse.delay("x"))

    refused("requests have no attribute 'no_such'", "no_such")
    refused("which is str and no SQLAlchemy session", "method")
    refused("zope.sqlalchemy.register", f"{__name__}:{_unregistered.__name__}")
    refused("takes part in the transactions of", f"{__name__}:{_registered_elsewhere.__name__}")
    refused("registered as read-only", f"{__name__}:{_read_only.__name__}")
    refused("has no database for the table ptemporal_outbox", f"{__name__}:{_unbound.__name__}")
    monkeypatch.setattr(site.app.outbox, "name", "dbsession")
    with pytest.raises(ImproperlyConfigured, match="there is no current request; in a script use"), transaction.manager:
        analyse.delay("x")
    assert site.rows() == []


def _request() -> Any:
    from pyramid.threadlocal import get_current_request

    return get_current_request()


def _unregistered() -> Session:
    return Session(_request().registry["engine"])


def _registered_elsewhere() -> Session:
    session = _unregistered()
    zope.sqlalchemy.register(session, transaction_manager=transaction.TransactionManager())
    return session


def _read_only() -> Session:
    session = _unregistered()
    zope.sqlalchemy.register(session, "readonly", transaction_manager=_request().tm)
    return session


def _unbound() -> Session:
    session = Session()
    zope.sqlalchemy.register(session, transaction_manager=_request().tm)
    return session


def test_a_missing_table_is_an_error_that_names_the_command_to_create_it(site: OutboxSite) -> None:
    outbox.drop(site.engine)
    try:
        with pytest.raises(ImproperlyConfigured, match="ptemporal-compat outbox init"):
            site.visit(lambda request: analyse.delay("x"))
        with pytest.raises(ImproperlyConfigured, match="ptemporal-compat outbox init"):
            site.store.backlog()
    finally:
        site.store.create()


# --- off ---------------------------------------------------------------------------------------------


def test_a_database_error_shows_no_arguments(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        request.dbsession.execute(text("SET TRANSACTION READ ONLY"))
        analyse.delay("secret")

    with pytest.raises(DBAPIError, match=r"(?i)read.only transaction") as caught:
        site.visit(view)
    assert "secret" not in str(caught.value)
    assert site.count() == 0


def test_without_an_outbox_its_modules_are_not_imported() -> None:
    code = (
        "import sys, pyramid_temporal_compat as p; app = p.Celery('shop');"
        "assert 'sqlalchemy' not in sys.modules;"
        "assert app.outbox is None;"
        "found = [name for name in sys.modules if name.startswith('pyramid_temporal_compat.outbox')];"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
