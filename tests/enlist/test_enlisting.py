"""A task that is called inside a transaction starts when the transaction commits, and only then.

The server tells which tasks have started. No worker serves the tests' queue, so started workflows stay open.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import transaction
from pyramid.httpexceptions import HTTPConflict, HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid_retry import RetryableException
from sqlalchemy.exc import IntegrityError

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.exceptions import InvalidCall, NoTransaction
from tests.enlist.application import UNSERVED, Apologised, Item, Member, Site, analyse


def unique() -> str:
    return uuid.uuid4().hex


# --- how a request ends ------------------------------------------------------------------------------


def test_a_task_starts_when_the_request_has_committed(site: Site) -> None:
    name = unique()

    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=name))
        result = analyse.delay(name)
        assert not site.has_started(result)
        return result

    assert site.has_started(site.visit(view))
    assert site.has_item(name)


def test_all_tasks_of_a_request_start_with_their_own_ids_and_queues(site: Site) -> None:
    other = f"{UNSERVED}-other"

    def view(request: Any) -> Any:
        first, second = analyse.delay("first"), analyse.apply_async(("second",), queue=other)
        return first, second

    first, second = site.visit(view)
    assert site.has_started(first, second)
    assert [site.runs_of(task).task_queue for task in (first, second)] == [UNSERVED, other]
    assert site.runs_of(first).workflow_type == analyse.name


def test_an_aborted_request_starts_nothing(site: Site) -> None:
    def view(request: Any) -> Any:
        result = analyse.delay("x")
        request.tm.abort()
        if site.explicit:
            request.tm.begin()  # pyramid_tm commits a transaction, so one must have begun
        return result

    assert not site.has_started(site.visit(view))


def test_a_task_called_after_an_abort_inside_the_request_belongs_to_the_next_transaction(site: Site) -> None:
    def view(request: Any) -> Any:
        dropped = analyse.delay("x")
        request.tm.abort()
        request.tm.begin()
        return dropped, analyse.delay("y")

    assert site.which_started(site.visit(view)) == [False, True]


def test_a_doomed_request_starts_nothing(site: Site) -> None:
    def view(request: Any) -> Any:
        before = analyse.delay("before")
        request.tm.doom()
        return before, analyse.delay("after")

    assert not site.has_started(*site.visit(view))


def test_an_exception_in_the_view_starts_nothing(site: Site) -> None:
    called = []

    def view(request: Any) -> Any:
        called.append(analyse.delay("x"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        site.visit(view)
    assert not site.has_started(*called)


def test_an_exception_that_has_a_view_starts_nothing(site: Site) -> None:
    called = []

    def view(request: Any) -> Any:
        called.append(analyse.delay("x"))
        raise Apologised

    site.visit(view, status=500)
    assert not site.has_started(*called)


@pytest.mark.parametrize("refusal", [HTTPConflict, HTTPNotFound])
def test_a_raised_http_error_starts_nothing(site: Site, refusal: type[Exception]) -> None:
    called = []

    def view(request: Any) -> Any:
        called.append(analyse.delay("x"))
        raise refusal

    site.visit(view, status=refusal().status_int)  # type: ignore[attr-defined]
    assert not site.has_started(*called)


@pytest.mark.parametrize(
    ("response", "starts"),
    [
        (Response("no", status=409), False),
        (Response("no", headers={"X-Tm": "abort"}), False),
        (Response("yes", status=201), True),
    ],
    ids=["409", "X-Tm abort", "201"],
)
def test_the_commit_veto_decides(site: Site, response: Response, starts: bool) -> None:
    called = []

    def view(request: Any) -> Any:
        called.append(analyse.delay("x"))
        return response

    site.visit(view, status=response.status_int)
    assert site.has_started(*called) == starts


def test_a_constraint_violated_at_commit_starts_nothing(site: Site) -> None:
    name, called = unique(), []
    site.visit(lambda request: request.dbsession.add(Item(name=name)))

    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=name))
        called.append(analyse.delay(name))

    with pytest.raises(IntegrityError):
        site.visit(view)
    assert not site.has_started(*called)


def test_each_attempt_of_pyramid_retry_is_a_transaction_of_its_own(site: Site) -> None:
    attempts = []

    def view(request: Any) -> Any:
        attempts.append(analyse.delay(str(len(attempts))))
        if len(attempts) < 3:
            raise RetryableException
        return attempts[-1]

    site.visit(view)
    assert site.which_started(attempts) == [False, False, True]


def test_when_the_last_attempt_of_pyramid_retry_fails_nothing_starts(site: Site) -> None:
    attempts = []

    def view(request: Any) -> Any:
        attempts.append(analyse.delay("x"))
        raise RetryableException

    with pytest.raises(RetryableException):
        site.visit(view)
    assert site.which_started(attempts) == [False] * 3


# --- which transaction -------------------------------------------------------------------------------


def test_without_a_transaction_a_task_starts_at_once(site: Site) -> None:
    assert site.has_started(analyse.delay("x"))


def test_in_a_request_without_a_transaction_a_task_starts_at_once(site: Site) -> None:
    assert site.visit(lambda request: site.has_started(analyse.delay("x")), **{"test.no_transaction": "1"})


def test_a_task_called_in_a_script_starts_after_the_transaction_manager_block(site: Site) -> None:
    with transaction.manager:
        committed = analyse.delay("x")
        assert not site.has_started(committed)
    assert site.has_started(committed)
    with contextlib.suppress(ZeroDivisionError), transaction.manager:
        aborted = analyse.delay("x")
        raise ZeroDivisionError
    assert not site.has_started(aborted)


def test_a_script_s_session_begins_the_transaction_that_a_task_joins(site: Site) -> None:
    name = unique()
    with site.script() as session:
        session.add(Item(name=name))
        result = analyse.delay(name)
        session.flush()
        assert not site.has_started(result)
        transaction.commit()
    assert site.has_started(result)
    assert site.has_item(name)


def test_a_given_manager_wins_over_the_requests_manager(site: Site) -> None:
    own = transaction.TransactionManager(explicit=True)

    def view(request: Any) -> Any:
        own.begin()
        result = analyse.apply_async(("x",), transaction_manager=own)
        request.tm.doom()
        return result

    result = site.visit(view)
    assert not site.has_started(result)
    own.commit()
    assert site.has_started(result)


def test_a_manager_that_has_no_transaction_is_refused(site: Site) -> None:
    with pytest.raises(NoTransaction, match=r"no transaction has begun on it; call its begin\(\)"):
        analyse.apply_async(("x",), transaction_manager=transaction.TransactionManager(explicit=True))


def test_an_argument_that_is_no_manager_is_refused(site: Site) -> None:
    with pytest.raises(InvalidCall, match="transaction_manager='tm' is str"):
        analyse.apply_async(("x",), transaction_manager="tm")


def test_the_requests_manager_wins_over_the_threads_manager(site: Site) -> None:
    if not site.explicit:
        pytest.skip("under pyramid_tm's thread-local manager, the request's manager is the thread's manager")

    def view(request: Any) -> Any:
        transaction.begin()
        result = analyse.delay("x")
        transaction.abort()
        return result

    assert site.has_started(site.visit(view))


def test_a_manager_set_on_the_request_replaces_the_requests_manager(site: Site) -> None:
    own = transaction.TransactionManager(explicit=True)

    def view(request: Any) -> Any:
        before = analyse.delay("before")
        request.tm = own
        own.begin()
        return before, analyse.delay("after")

    tasks = site.visit(view)
    assert site.which_started(tasks) == [True, False]
    own.commit()
    assert site.has_started(*tasks)


def test_a_subrequest_without_tweens_is_part_of_the_requests_transaction(site: Site) -> None:
    called: list[Any] = []

    def inner(request: Any) -> Any:
        called.append(analyse.delay("inner"))

    def outer(request: Any) -> Any:
        request.invoke_subrequest(subrequest(inner))
        called.append(analyse.delay("outer"))
        assert site.which_started(called) == [False, False]
        request.tm.doom()

    site.visit(outer)
    assert not site.has_started(*called)


def test_a_subrequest_with_tweens_has_a_transaction_of_its_own(site: Site) -> None:
    if not site.explicit:
        pytest.skip("with one manager for the thread, pyramid_tm aborts the outer transaction and begins another")
    called: list[Any] = []

    def outer(request: Any) -> Any:
        before = analyse.delay("before")
        request.invoke_subrequest(subrequest(lambda _: called.append(analyse.delay("inner"))), use_tweens=True)
        assert site.has_started(*called)
        request.tm.doom()
        return before

    assert not site.has_started(site.visit(outer))


def subrequest(view: Any) -> Request:
    made = Request.blank("/", POST={})
    made.environ["test.view"] = view
    return made


def test_enlist_required_refuses_a_call_outside_a_transaction(site: Site) -> None:
    with settings(site, ptemporal_enlist="required"):
        with pytest.raises(NoTransaction, match=r"request\.tm\.begin"):
            analyse.delay("x")
        assert site.has_started(site.visit(lambda request: analyse.delay("x")))


def test_enlist_never_starts_at_once_unless_a_manager_is_given(site: Site) -> None:
    def view(request: Any) -> Any:
        at_once, enlisted = analyse.delay("x"), analyse.apply_async(("y",), transaction_manager=request.tm)
        assert site.which_started([at_once, enlisted]) == [True, False]
        return enlisted

    with settings(site, ptemporal_enlist="never"):
        assert site.has_started(site.visit(view))


@contextlib.contextmanager
def settings(site: Site, **values: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setitem(site.app.conf, name, value)
        yield


def test_two_apps_in_one_transaction_each_send_their_own_messages(site: Site) -> None:
    current = site.app
    other = Celery("other", set_as_current=False)
    other.conf.update({"ptemporal_address": current.conf.ptemporal_address, "task_default_queue": f"{UNSERVED}-2"})

    def view(request: Any) -> Any:
        return analyse.delay("x"), other.send_task("somewhere.else", (1,))

    with other:
        ours, theirs = site.visit(view)
        assert site.has_started(ours, theirs)
        assert site.runs_of(theirs).task_queue == f"{UNSERVED}-2"


def test_many_threads_keep_their_transactions_apart(site: Site) -> None:
    def visits(thread: int) -> tuple[list[Any], list[Any]]:
        committed: list[Any] = []
        aborted: list[Any] = []
        for number in range(10):
            aborts = (thread + number) % 2

            def view(request: Any, aborts: int = aborts, number: int = number) -> Any:
                request.dbsession.add(Item(name=unique()))
                request.dbsession.flush()
                tasks = [analyse.delay(f"{thread}-{number}-{index}") for index in range(2)]
                (aborted if aborts else committed).extend(tasks)
                return Response(status=409 if aborts else 200)

            site.visit(view, status=409 if aborts else 200)
        return committed, aborted

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        done = list(pool.map(visits, range(16)))
    committed = [task for tasks, _ in done for task in tasks]
    aborted = [task for _, tasks in done for task in tasks]
    assert (len(committed), len(aborted)) == (160, 160)
    assert all(site.which_started(committed))
    assert not any(site.which_started(aborted))


# --- several members ---------------------------------------------------------------------------------


def test_several_sessions_commit_with_the_task(site: Site) -> None:
    names = [unique() for _ in range(3)]

    def view(request: Any) -> Any:
        request.dbsession.add(Item(name=names[0]))
        result = analyse.delay("x")
        request.other_session.add(Item(name=names[1]))
        request.two_phase_session.add(Item(name=names[2]))
        return result

    assert site.has_started(site.visit(view))
    assert all(map(site.has_item, names))


def test_when_one_of_several_sessions_fails_nothing_starts(site: Site) -> None:
    name, called = unique(), []
    site.visit(lambda request: request.dbsession.add(Item(name=name)))

    def view(request: Any) -> Any:
        request.two_phase_session.add(Item(name=unique()))
        called.append(analyse.delay("x"))
        request.dbsession.add(Item(name=name))

    with pytest.raises(IntegrityError):
        site.visit(view)
    assert not site.has_started(*called)


@pytest.mark.parametrize("sorts", ["first", "last"])
@pytest.mark.parametrize("stage", ["tpc_begin", "commit", "tpc_vote", "tpc_finish"])
def test_when_another_data_manager_fails_nothing_starts(site: Site, stage: str, sorts: str) -> None:
    called = []

    def view(request: Any) -> Any:
        request.tm.get().join(Member(request.tm, stage, sorts))
        request.dbsession.add(Item(name=unique()))
        called.append(analyse.delay("x"))

    with pytest.raises(RuntimeError, match=f"failed at {stage}"):
        site.visit(view)
    assert not site.has_started(*called)
    assert site.has_started(site.visit(lambda request: analyse.delay("the next request is well")))
