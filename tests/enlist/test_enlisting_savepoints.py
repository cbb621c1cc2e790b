"""A rolled-back savepoint drops the tasks that were called after it, and no others.

A savepoint belongs to `transaction`, and every session follows it, or to one session (`begin_nested`).
"""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import transaction
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.orm import Session

from tests.enlist.application import Item, Site, analyse


def unique() -> str:
    return uuid.uuid4().hex


def join(session: Any) -> None:
    """Make the session join the transaction, as its first use does."""
    session.add(Item(name=unique()))
    session.flush()


def starts(site: Site, view: Any) -> list[bool]:
    """Return, for each task that the view called, whether it has started after the commit."""
    called = site.visit(view)
    return site.which_started(called)


# --- transaction.savepoint() -------------------------------------------------------------------------


def test_the_first_task_called_after_a_savepoint_is_dropped_with_the_savepoint(site: Site) -> None:
    def view(request: Any) -> Any:
        savepoint = request.tm.savepoint()
        under = analyse.delay("under")
        savepoint.rollback()
        return under, analyse.delay("after")

    assert starts(site, view) == [False, True]


def test_a_task_called_before_a_savepoint_stays(site: Site) -> None:
    def view(request: Any) -> Any:
        join(request.dbsession)
        before = analyse.delay("before")
        savepoint = request.tm.savepoint()
        under = analyse.delay("under")
        savepoint.rollback()
        return before, under, analyse.delay("after")

    assert starts(site, view) == [True, False, True]


def test_a_savepoint_that_is_not_rolled_back_changes_nothing(site: Site) -> None:
    def view(request: Any) -> Any:
        join(request.dbsession)
        first = analyse.delay("first")
        request.tm.savepoint()
        return first, analyse.delay("second")

    assert starts(site, view) == [True, True]


def test_a_savepoint_rolled_back_twice_drops_the_tasks_called_in_between(site: Site) -> None:
    for begun in (False, True):

        def view(request: Any, begun: bool = begun) -> Any:
            called = [analyse.delay("before")] if begun else []
            savepoint = request.tm.savepoint()
            for word in ("first", "second"):
                called.append(analyse.delay(word))
                savepoint.rollback()
            return [*called, analyse.delay("after")]

        assert starts(site, view) == [True, False, False, True][not begun :]


def test_nested_savepoints_rolled_back_to_the_inner_one(site: Site) -> None:
    def view(request: Any) -> Any:
        request.tm.savepoint()
        outer = analyse.delay("outer")
        join(request.dbsession)
        inner = request.tm.savepoint()
        under = analyse.delay("under")
        inner.rollback()
        return outer, under, analyse.delay("after")

    assert starts(site, view) == [True, False, True]


def test_nested_savepoints_rolled_back_to_the_outer_one(site: Site) -> None:
    def view(request: Any) -> Any:
        before = analyse.delay("before")
        outer = request.tm.savepoint()
        first = analyse.delay("first")
        request.tm.savepoint()
        second = analyse.delay("second")
        outer.rollback()
        return before, first, second, analyse.delay("after")

    assert starts(site, view) == [True, False, False, True]


def test_a_savepoint_between_two_joins(site: Site) -> None:
    def view(request: Any) -> Any:
        join(request.dbsession)
        savepoint = request.tm.savepoint()
        first = analyse.delay("first")
        join(request.other_session)
        second = analyse.delay("second")
        savepoint.rollback()
        return first, second, analyse.delay("after")

    assert starts(site, view) == [False, False, True]


def test_a_savepoint_of_a_session_that_only_reads(site: Site) -> None:
    def view(request: Any) -> Any:
        request.dbsession.scalars(select(Item).limit(1)).all()
        request.tm.savepoint()
        first = analyse.delay("first")
        request.tm.get().addBeforeCommitHook(lambda: analyse.apply_async(("late",), task_id=late))
        return first, late

    late = unique()
    assert starts(site, view) == [True, True]


def test_two_savepoints_before_the_first_task(site: Site) -> None:
    def view(request: Any) -> Any:
        outer = request.tm.savepoint()
        inner = request.tm.savepoint()
        first = analyse.delay("first")
        inner.rollback()
        second = analyse.delay("second")
        outer.rollback()
        return first, second, analyse.delay("after")

    assert starts(site, view) == [False, False, True]


def test_a_request_that_aborts_after_a_rolled_back_savepoint_starts_nothing(site: Site) -> None:
    def view(request: Any) -> Any:
        before = analyse.delay("before")
        savepoint = request.tm.savepoint()
        under = analyse.delay("under")
        savepoint.rollback()
        request.tm.doom()
        return before, under

    assert starts(site, view) == [False, False]


# --- session.begin_nested() --------------------------------------------------------------------------


@pytest.mark.parametrize("joined", [True, False], ids=["joined", "unused"])
def test_a_nested_transaction_rolled_back(site: Site, joined: bool) -> None:
    def view(request: Any) -> Any:
        if joined:
            join(request.dbsession)
        before = analyse.delay("before")
        nested = request.dbsession.begin_nested()
        under = analyse.delay("under")
        nested.rollback()
        join(request.dbsession)
        return before, under, analyse.delay("after")

    assert starts(site, view) == [True, False, True]


@pytest.mark.parametrize("joined", [True, False], ids=["joined", "unused"])
def test_a_nested_transaction_released(site: Site, joined: bool) -> None:
    def view(request: Any) -> Any:
        if joined:
            join(request.dbsession)
        with request.dbsession.begin_nested():
            under = analyse.delay("under")
        with request.dbsession.begin_nested() as other:
            dropped = analyse.delay("dropped")
            other.rollback()
        return under, dropped

    assert starts(site, view) == [True, False]


def test_a_nested_block_that_violates_a_constraint(site: Site) -> None:
    name = unique()

    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=name))
        before = analyse.delay("before")
        try:
            with request.dbsession.begin_nested():
                under = analyse.delay("under")
                request.dbsession.execute(Item.__table__.insert().values(name=name))
        except IntegrityError:
            return before, under, analyse.delay("after")

    assert starts(site, view) == [True, False, True]
    assert site.has_item(name)


def test_a_flush_that_fails_in_a_nested_block(site: Site) -> None:
    name = unique()
    site.visit(lambda request: request.dbsession.add(Item(name=name)))

    def view(request: Any) -> Any:
        before = analyse.delay("before")
        try:
            with request.dbsession.begin_nested():
                under = analyse.delay("under")
                request.dbsession.add(Item(name=name))
                request.dbsession.flush()
        except IntegrityError:
            return before, under, analyse.delay("after")

    assert starts(site, view) == [True, False, True]


def test_the_inner_of_two_nested_transactions_rolled_back(site: Site) -> None:
    def view(request: Any) -> Any:
        with request.dbsession.begin_nested():
            outer = analyse.delay("outer")
            inner_transaction = request.dbsession.begin_nested()
            inner = analyse.delay("inner")
            inner_transaction.rollback()
            after = analyse.delay("after")
        return outer, inner, after

    assert starts(site, view) == [True, False, True]


def test_the_inner_nested_transaction_released_and_then_the_outer_rolled_back(site: Site) -> None:
    def view(request: Any) -> Any:
        before = analyse.delay("before")
        outer = request.dbsession.begin_nested()
        with request.dbsession.begin_nested():
            under = analyse.delay("under")
        outer.rollback()
        return before, under, analyse.delay("after")

    assert starts(site, view) == [True, False, True]


def test_the_outer_nested_transaction_rolled_back_while_the_inner_is_open(site: Site) -> None:
    def view(request: Any) -> Any:
        join(request.dbsession)
        outer = request.dbsession.begin_nested()
        first = analyse.delay("first")
        request.dbsession.begin_nested()
        second = analyse.delay("second")
        outer.rollback()
        return first, second, analyse.delay("after")

    assert starts(site, view) == [False, False, True]


@pytest.mark.parametrize("rolls_back", ["dbsession", "other_session"])
def test_nested_transactions_of_two_sessions_end_in_any_order(site: Site, rolls_back: str) -> None:
    def view(request: Any) -> Any:
        before = analyse.delay("before")
        nested = {"dbsession": request.dbsession.begin_nested()}
        under_one = analyse.delay("under one")
        nested["other_session"] = request.other_session.begin_nested()
        under_both = analyse.delay("under both")
        nested.pop(rolls_back).rollback()
        after = analyse.delay("after")
        for left in nested.values():
            left.commit()
        return before, under_one, under_both, after

    assert starts(site, view) == [True, rolls_back == "other_session", False, True]


def test_a_task_called_in_a_nested_transaction_is_dropped_with_it_after_others_were_dropped(site: Site) -> None:
    def view(request: Any) -> Any:
        first = request.dbsession.begin_nested()
        called = [analyse.delay("under the first")]
        second = request.other_session.begin_nested()
        called.append(analyse.delay("under both"))
        first.rollback()
        called.append(analyse.delay("under the second"))
        second.rollback()
        return [*called, analyse.delay("after")]

    assert starts(site, view) == [False, False, False, True]


def test_a_nested_transaction_of_a_two_phase_session(site: Site) -> None:
    def view(request: Any) -> Any:
        join(request.two_phase_session)
        with request.two_phase_session.begin_nested() as nested:
            under = analyse.delay("under")
            nested.rollback()
        return under, analyse.delay("after")

    assert starts(site, view) == [False, True]


def test_a_savepoint_around_a_nested_transaction_that_is_released(site: Site) -> None:
    def view(request: Any) -> Any:
        join(request.dbsession)
        savepoint = request.tm.savepoint()
        with request.dbsession.begin_nested():
            under = analyse.delay("under")
        savepoint.rollback()
        return under, analyse.delay("after")

    assert starts(site, view) == [False, True]


def test_a_savepoint_inside_a_nested_transaction_that_is_rolled_back(site: Site) -> None:
    def view(request: Any) -> Any:
        join(request.dbsession)
        nested = request.dbsession.begin_nested()
        first = analyse.delay("first")
        request.tm.savepoint()
        second = analyse.delay("second")
        nested.rollback()
        return first, second, analyse.delay("after")

    assert starts(site, view) == [False, False, True]


def test_a_task_called_in_the_flush_of_a_commit_with_savepoints_open(site: Site) -> None:
    called = []

    def view(request: Any) -> Any:
        join(request.dbsession)
        request.tm.savepoint()
        request.other_session.begin_nested()
        called.append(analyse.delay("before"))
        event.listen(request.dbsession, "after_flush", lambda *_: called.append(analyse.delay("flush")))
        request.dbsession.add(Item(name=unique()))

    site.visit(view)
    assert site.which_started(called) == [True, True]


def test_a_session_rolled_back_as_a_whole_fails_the_commit(site: Site) -> None:
    called = []

    def view(request: Any) -> Any:
        join(request.dbsession)
        called.append(analyse.delay("x"))
        request.dbsession.rollback()

    with pytest.raises(InvalidRequestError):
        site.visit(view)
    assert not site.has_started(*called)


def test_a_nested_transaction_of_a_session_that_belongs_to_no_transaction_manager(site: Site) -> None:
    def view(request: Any) -> Any:
        with Session(site.engine) as apart, apart.begin_nested() as nested:
            apart.scalars(select(Item).limit(1)).all()
            result = analyse.delay("x")
            nested.rollback()
        return (result,)

    assert starts(site, view) == [True]


def test_a_rolled_back_session_of_one_request_does_not_touch_the_next(site: Site) -> None:
    """A scoped session outlives the request, so none of our listeners may stay on it."""
    with site.script() as session:
        for _ in range(2):
            transaction.begin()
            join(session)
            nested = session.begin_nested()
            dropped = analyse.delay("dropped")
            nested.rollback()
            kept = analyse.delay("kept")
            transaction.commit()
            assert site.which_started([dropped, kept]) == [False, True]
        assert not list(session.dispatch.after_transaction_end)
        assert not list(session.dispatch.after_commit)
