"""Tasks called from hooks of the commit and from other tasks, results asked for too early, errors after a commit."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any

import pytest
import transaction
from pyramid.response import Response
from sqlalchemy import event
from transaction.interfaces import DoomedTransaction, TransactionFailedError

from pyramid_temporal_compat import Celery, states
from pyramid_temporal_compat.enlist.dispatcher import Dispatcher
from pyramid_temporal_compat.exceptions import OperationalError, StillEnlisted
from pyramid_temporal_compat.exceptions import TimeoutError as CallTimeout
from tests.enlist.application import Item, Member, Site, add_item, analyse, serving
from tests.parts import wait_until


def unique() -> str:
    return uuid.uuid4().hex


# --- hooks -------------------------------------------------------------------------------------------


def test_a_task_called_in_a_before_commit_hook_starts(site: Site) -> None:
    called = []

    def view(request: Any) -> Any:
        request.tm.get().addBeforeCommitHook(lambda: called.append(analyse.delay("x")))

    site.visit(view)
    assert site.has_started(*called)


def test_a_task_called_in_an_after_commit_hook_starts_at_once(site: Site) -> None:
    called = []

    def hook(committed: bool) -> None:
        called.append(analyse.delay("x"))
        assert site.has_started(called[-1])

    def view(request: Any) -> Any:
        request.tm.get().addAfterCommitHook(hook)
        before = analyse.delay("y")
        request.tm.get().addAfterCommitHook(hook)
        return before

    assert site.has_started(site.visit(view), *called)
    assert len(called) == 2


def test_a_task_called_in_an_after_commit_hook_of_a_commit_that_failed_is_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def view(request: Any) -> Any:
        request.tm.get().addAfterCommitHook(lambda committed: analyse.delay("x"))
        request.tm.get().join(Member(request.tm, "commit"))

    with pytest.raises(RuntimeError, match="failed at commit"):
        site.visit(view)
    assert "was called in a transaction that has failed" in caplog.text


def test_a_task_called_in_an_after_abort_hook_does_not_start(site: Site) -> None:
    called = []

    def view(request: Any) -> Any:
        request.tm.get().addAfterAbortHook(lambda: called.append(analyse.delay("x")))
        request.tm.doom()

    site.visit(view)
    assert not site.has_started(*called)


def test_a_task_called_while_the_session_is_flushed_in_the_commit_starts(site: Site) -> None:
    called = []

    def view(request: Any) -> Any:
        event.listen(request.dbsession, "after_flush", lambda *_: called.append(analyse.delay("x")))
        request.dbsession.add(Item(name=unique()))

    site.visit(view)
    assert site.has_started(*called)


def test_a_task_called_in_the_flush_of_a_commit_that_fails_does_not_start(site: Site) -> None:
    called = []

    def view(request: Any) -> Any:
        event.listen(request.dbsession, "after_flush", lambda *_: called.append(analyse.delay("x")))
        request.dbsession.add(Item(name=unique()))
        request.tm.get().join(Member(request.tm, "tpc_vote", "first"))

    with pytest.raises(RuntimeError, match="failed at tpc_vote"):
        site.visit(view)
    assert not site.has_started(*called)


@pytest.mark.parametrize("commits", [True, False])
def test_a_task_called_in_a_synchronizer_of_the_transaction(site: Site, commits: bool) -> None:
    called: dict[str, Any] = {}

    class Synchronizer:
        def newTransaction(self, transaction: Any) -> None: ...

        def beforeCompletion(self, transaction: Any) -> None:
            called["before"] = analyse.delay("before")

        def afterCompletion(self, transaction: Any) -> None:
            called["after"] = analyse.delay("after")

    synchronizer = Synchronizer()

    def view(request: Any) -> Any:
        request.tm.registerSynch(synchronizer)
        return Response(status=200 if commits else 409)

    try:
        site.visit(view, status=200 if commits else 409)
    finally:
        if not site.explicit:
            transaction.manager.unregisterSynch(synchronizer)
    assert site.has_started(called["before"]) == commits
    assert site.has_started(called["after"])  # the transaction is over


def test_a_transaction_that_has_failed_refuses_tasks(site: Site) -> None:
    def view(request: Any) -> Any:
        request.tm.get().join(Member(request.tm, "commit"))
        with pytest.raises(RuntimeError, match="failed at commit"):
            request.tm.commit()
        with pytest.raises(TransactionFailedError, match=f"'{analyse.name}' was called in .*abort it first"):
            analyse.delay("x")
        request.tm.abort()
        at_once = analyse.delay("y")
        assert site.has_started(at_once)
        request.tm.begin()

    site.visit(view)


def test_the_commit_of_a_doomed_transaction_starts_nothing(site: Site) -> None:
    with site.script():
        transaction.begin()
        transaction.doom()
        result = analyse.delay("x")
        with pytest.raises(DoomedTransaction):
            transaction.commit()
    assert not site.has_started(result)


# --- an error after the commit -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raising", "reason"), [(False, "127.0.0.1:1"), (True, "no dispatch")], ids=["server away", "dispatch raises"]
)
def test_a_transaction_stays_committed_when_its_tasks_cant_be_started(
    site: Site,
    site_database: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    raising: bool,
    reason: str,
) -> None:
    def refuse(*args: Any) -> None:
        raise RuntimeError("no dispatch")

    if raising:
        monkeypatch.setattr(Dispatcher, "after_commit", refuse)
    name = unique()

    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=name))
        return analyse.delay(name), analyse.delay(f"second {name}")

    # A request uses its registry's app, whichever app was made last.
    cut_off = Site(
        site_database,
        **{
            "address": "127.0.0.1:1",
            "manager": "explicit" if site.explicit else "thread-local",
            "ptemporal.dispatch_timeout": "0.3",
        },
    )
    try:
        with caplog.at_level(logging.ERROR):
            tasks = cut_off.visit(view)
    finally:
        cut_off.close()
        site.app.set_current()
    assert site.has_item(name)
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 2
    for record, task, argument in zip(said, tasks, (name, f"second {name}"), strict=True):
        text = record.getMessage()
        assert text.startswith(f"committed, but not started: {analyse.name}({argument!r})[{task.id}]")
        assert reason in caplog.text
        message = json.loads(text.partition("; the message: ")[2])
        assert message["envelope"]["id"] == task.id
        assert message["body"] == [argument]


def test_a_call_outside_a_transaction_raises_when_the_task_cant_be_started(site: Site) -> None:
    with Celery("cut-off", set_as_current=False) as app:
        app.conf.update({"ptemporal_address": "127.0.0.1:1", "ptemporal_dispatch_timeout": 0.3})
        with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1"):
            app.send_task("x")


# --- tasks that call tasks ---------------------------------------------------------------------------


def test_calls_made_by_a_task_start_only_if_the_task_commits(site: Site) -> None:
    names, follow_ups = [unique(), unique()], [unique(), unique()]
    queue = f"served-{unique()}"
    with serving(site.app, queue):
        well = add_item.apply_async((names[0], follow_ups[0]), queue=queue)
        badly = add_item.apply_async((names[1], follow_ups[1]), {"fail": True}, queue=queue)
        assert well.get(30) is None
        assert isinstance(badly.get(30, propagate=False), ValueError)
        assert badly.state == states.FAILURE
    assert [site.has_item(name) for name in names] == [True, False]
    assert site.which_started(follow_ups) == [True, False]


# --- asking for a result too early -------------------------------------------------------------------


def test_get_and_revoke_are_refused_while_the_transaction_is_open(site: Site) -> None:
    def view(request: Any) -> Any:
        result = analyse.delay("x")
        for ask in (result.get, result.revoke, site.app.AsyncResult(result.id).get):
            with pytest.raises(StillEnlisted, match=f"{result.id}.*only when the transaction commits"):
                ask()
        return result

    result = site.visit(view)
    with pytest.raises(CallTimeout, match="has not ended within"):
        result.get(timeout=0.1)
    result.revoke(terminate=True)
    wait_until(lambda: result.state == states.REVOKED)


def test_get_is_refused_also_for_a_transaction_that_is_not_the_current_one(site: Site) -> None:
    own = transaction.TransactionManager(explicit=True)
    own.begin()
    result = analyse.apply_async(("x",), transaction_manager=own)
    with pytest.raises(StillEnlisted):
        result.get()
    own.abort()
    with pytest.raises(CallTimeout, match="has not ended within"):
        result.get(timeout=0.1)


def test_get_in_an_after_commit_hook_is_refused_until_the_task_has_left(site: Site) -> None:
    seen = []

    def hook(committed: bool, result: Any) -> None:
        try:
            seen.append(result.get(timeout=0.1))
        except Exception as error:
            seen.append(type(error).__name__)

    def view(request: Any) -> Any:
        box: list[Any] = []
        request.tm.get().addAfterCommitHook(lambda committed: hook(committed, box[0]))
        box.append(analyse.delay("x"))
        request.tm.get().addAfterCommitHook(hook, (box[0],))

    site.visit(view)
    assert seen == ["StillEnlisted", "TimeoutError"]
