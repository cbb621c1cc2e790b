"""`request.temporal` starts hand-written workflows with the request's commit, and asks about them at once."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import transaction
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError

from pyramid_temporal_compat import chain
from pyramid_temporal_compat.current import latest_app, set_current_app
from pyramid_temporal_compat.exceptions import (
    AlwaysEagerIgnored,
    ImproperlyConfigured,
    InvalidCall,
    NoTransaction,
    NotSerializable,
    OperationalError,
    PayloadTooLarge,
    StillEnlisted,
    WorkflowNotFound,
)
from pyramid_temporal_compat.exceptions import TimeoutError as CallTimeout
from pyramid_temporal_compat.native.definitions import definitions_of, workflow_definition
from pyramid_temporal_compat.native.request_temporal import connect, temporal
from tests.enlist.application import Item, Member, Site, analyse
from tests.native.client_parts import serving, unique
from tests.native.greeting import Greeting, Guest
from tests.parts import fresh_database, wait_until

QUEUE = unique("greetings")


@pytest.fixture(scope="module")
def database(postgres: str) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture(scope="module", params=["explicit", "thread-local"])
def site(request: pytest.FixtureRequest, database: str, temporal_address: str) -> Iterator[Site]:
    """The application, once with pyramid_tm's explicit managers, once with the thread-local manager."""
    before = latest_app()
    site = Site(database, temporal_address, request.param)
    try:
        with serving(site.wsgi.registry, QUEUE, [Greeting]):
            yield site
    finally:
        site.close()
        set_current_app(before)


def greet(request: Any, **options: Any) -> Any:
    return request.temporal.start_workflow(Greeting.run, Guest("Ada"), task_queue=QUEUE, **options)


# --- with the transaction ----------------------------------------------------------------------------


def test_a_workflow_starts_when_the_request_commits_and_not_before(site: Site) -> None:
    def view(request: Any) -> Any:
        handle = greet(request)
        request.dbsession.add(Item(name=handle.id))
        request.dbsession.flush()
        assert site.which_started([handle.id]) == [False]
        return handle

    handle = site.visit(view)
    assert handle.result(timeout=30) == ["hello Ada"]
    assert handle.describe().workflow_type == "Greeting"
    assert handle.describe().task_queue == QUEUE
    assert site.has_item(handle.id)


@pytest.mark.parametrize("how", ["raises", "doomed", "vetoed", "failed commit"])
def test_a_view_that_aborts_starts_nothing(site: Site, how: str) -> None:
    ids: list[str] = []

    def view(request: Any) -> Any:
        ids.append(greet(request).id)
        if how == "raises":
            raise ZeroDivisionError
        if how == "doomed":
            request.tm.doom()
        if how == "vetoed":
            request.response.status = 500
            return request.response
        if how == "failed commit":
            request.tm.get().join(Member(request.tm, "tpc_vote"))
        return None

    if how in ("raises", "failed commit"):
        with pytest.raises((ZeroDivisionError, RuntimeError)):
            site.visit(view)
    else:
        site.visit(view, status=500 if how == "vetoed" else 200)
    assert site.which_started(ids) == [False]


def test_a_rolled_back_savepoint_drops_exactly_its_starts(site: Site) -> None:
    def view(request: Any) -> Any:
        before = greet(request)
        savepoint = request.tm.savepoint()
        under = greet(request)
        savepoint.rollback()
        nested = request.dbsession.begin_nested()
        request.dbsession.add(Item(name=unique()))
        inside = greet(request)
        nested.rollback()
        return [before.id, under.id, inside.id, greet(request).id]

    assert site.which_started(site.visit(view)) == [True, False, False, True]


def test_starts_mix_with_tasks_and_canvases_in_one_transaction(site: Site) -> None:
    def view(request: Any) -> Any:
        first = greet(request)
        task = analyse.delay("x")
        canvas = chain(analyse.si("y"), analyse.si("z")).delay()
        many = [analyse.delay(str(number)) for number in range(10)]  # they leave as a bundle
        last = greet(request)
        assert many
        return [first.id, task.id, canvas.id, last.id]

    first, task, canvas, last = site.visit(view)
    assert site.which_started([first, last]) == [True, True]
    assert task
    assert canvas


def test_a_start_and_signals_of_one_transaction_arrive_in_order(site: Site) -> None:
    def view(request: Any) -> Any:
        handle = request.temporal.start_workflow(Greeting.run, args=[Guest("Ada", waits=True)], task_queue=QUEUE)
        handle.signal(Greeting.say, "one", after_commit=True)
        handle.signal("say", args=["two", 2], after_commit=True)
        handle.signal(Greeting.open, after_commit=True)
        return handle

    for _ in range(5):
        assert site.visit(view).result(timeout=30) == ["hello Ada", "one", "two", "two"]


def test_a_signal_that_joins_a_transaction_that_aborts_does_not_leave(site: Site) -> None:
    handle = temporal(site.wsgi.registry).start_workflow(Greeting.run, Guest("Ada", waits=True), task_queue=QUEUE)

    def fails(request: Any) -> Any:
        request.temporal.get_workflow_handle(handle.id).signal("say", "lost", after_commit=True)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        site.visit(fails)
    site.visit(lambda request: request.temporal.get_workflow_handle(handle.id).signal("say", "kept", after_commit=True))
    handle.signal(Greeting.open)
    assert handle.result(timeout=30) == ["hello Ada", "kept"]


def test_every_option_of_temporalio_arrives(site: Site) -> None:
    name = unique()

    def view(request: Any) -> Any:
        return greet(
            request,
            id=name,
            memo={"tenant": 5},
            static_summary="for Ada",
            execution_timeout=timedelta(minutes=5),
            start_signal="say",
            start_signal_args=["signalled"],
        )

    handle = site.visit(view)
    assert handle.id == name
    assert handle.result(timeout=30) == ["hello Ada", "signalled"]
    assert asyncio.run(handle.describe().memo()) == {"tenant": 5}
    assert asyncio.run(handle.describe().static_summary()) == "for Ada"


def test_without_a_queue_a_workflow_goes_to_the_queue_that_serves_it(site: Site) -> None:
    definitions_of(site.wsgi.registry).add(workflow_definition(Greeting, QUEUE))
    handle = site.visit(lambda request: request.temporal.start_workflow(Greeting.run, Guest("Ada")))
    assert handle.result(timeout=30) == ["hello Ada"]
    other = site.visit(lambda request: request.temporal.start_workflow("Unknown"))
    assert other.describe().task_queue == site.app.conf["task_default_queue"]
    other.terminate()


def test_a_start_delay_counts_from_the_call(site: Site) -> None:
    handle = site.visit(lambda request: greet(request, start_delay=timedelta(hours=2)))
    description = handle.describe()
    delay = description.raw_description.workflow_execution_info.execution_time.ToDatetime()
    started = description.raw_description.workflow_execution_info.start_time.ToDatetime()
    assert timedelta(hours=1, minutes=59) < delay - started <= timedelta(hours=2)
    handle.terminate(reason="the test is over")
    assert handle.describe().status is WorkflowExecutionStatus.TERMINATED


# --- the handle --------------------------------------------------------------------------------------


def test_a_handle_says_that_its_workflow_waits_for_the_commit(site: Site) -> None:
    def view(request: Any) -> Any:
        handle = greet(request)
        for ask in (handle.result, handle.describe, handle.cancel, lambda: handle.signal("say", "x")):
            with pytest.raises(StillEnlisted, match="has not committed"):
                ask()
        return handle

    assert site.visit(view).result(timeout=30) == ["hello Ada"]


def test_a_handle_of_an_aborted_start_says_that_the_server_does_not_know_it(site: Site) -> None:
    def view(request: Any) -> Any:
        handles.append(greet(request))
        raise ZeroDivisionError

    handles: list[Any] = []
    with pytest.raises(ZeroDivisionError):
        site.visit(view)
    with pytest.raises(WorkflowNotFound, match="was aborted"):
        handles[0].result(timeout=30)


def test_an_unknown_id_with_any_words_in_it_is_an_unknown_workflow(site: Site) -> None:
    with pytest.raises(WorkflowNotFound, match="knows no workflow 'my-namespace-1'"):
        temporal(site.wsgi.registry).get_workflow_handle("my-namespace-1").describe()


def test_a_handle_signals_queries_updates_and_cancels_at_once(site: Site) -> None:
    handle = temporal(site.wsgi.registry).start_workflow(Greeting.run, Guest("Ada", waits=True), task_queue=QUEUE)

    def view(request: Any) -> Any:
        found = request.temporal.get_workflow_handle_for(Greeting.run, handle.id)
        found.signal(Greeting.say, "quiet", 2)
        assert found.execute_update(Greeting.shout, "loud") == 3
        assert found.query(Greeting.words) == ["quiet", "quiet", "LOUD"]
        assert found.query("words") == ["quiet", "quiet", "LOUD"]
        with pytest.raises(CallTimeout, match=r"gave no answer within 0\.2 s"):
            found.result(timeout=0.2)
        found.cancel()
        raise ZeroDivisionError  # the transaction's end changes nothing

    with pytest.raises(ZeroDivisionError):
        site.visit(view)
    with pytest.raises(WorkflowFailureError):
        handle.result(timeout=timedelta(seconds=30))
    assert handle.describe().status is WorkflowExecutionStatus.CANCELED


def test_a_failed_workflow_raises_what_temporalio_raises(site: Site) -> None:
    handle = temporal(site.wsgi.registry).start_workflow("Greeting", Guest("nobody"), task_queue=QUEUE)
    with pytest.raises(WorkflowFailureError) as failed:
        handle.result(timeout=30)
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "Nobody"


def test_execute_workflow_acts_at_once_whatever_becomes_of_the_transaction(site: Site) -> None:
    def view(request: Any) -> Any:
        results.append(request.temporal.execute_workflow(Greeting.run, Guest("Ada"), task_queue=QUEUE, timeout=30))
        raise ZeroDivisionError

    results: list[Any] = []
    with pytest.raises(ZeroDivisionError):
        site.visit(view)
    assert results == [["hello Ada"]]


# --- ids ---------------------------------------------------------------------------------------------


def test_without_a_transaction_a_taken_id_is_an_error(site: Site) -> None:
    name = unique()
    there = temporal(site.wsgi.registry)
    handle = there.start_workflow(Greeting.run, Guest("Ada", waits=True), id=name, task_queue=QUEUE)
    with pytest.raises(WorkflowAlreadyStartedError):
        there.start_workflow(Greeting.run, Guest("Bob"), id=name, task_queue=QUEUE)
    same = there.start_workflow(
        Greeting.run, Guest("Bob"), id=name, task_queue=QUEUE, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )
    handle.signal(Greeting.open)
    assert same.result(timeout=30) == ["hello Ada"]
    with pytest.raises(WorkflowAlreadyStartedError):
        there.start_workflow(
            Greeting.run,
            Guest("Bob"),
            id=name,
            task_queue=QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    again = there.start_workflow(Greeting.run, Guest("Bob"), id=name, task_queue=QUEUE)
    assert again.result(timeout=30) == ["hello Bob"]


def test_after_a_commit_a_taken_id_is_a_warning_that_names_the_workflow(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    name = unique()
    site.visit(
        lambda request: request.temporal.start_workflow("Greeting", Guest("A", waits=True), id=name, task_queue=QUEUE)
    )
    site.visit(lambda request: greet(request, id=name))
    wait_until(lambda: "another workflow has this id" in caplog.text)
    assert name in caplog.text
    temporal(site.wsgi.registry).get_workflow_handle(name).terminate()


# --- errors of the caller ----------------------------------------------------------------------------


def test_an_argument_that_cannot_travel_fails_in_the_view(site: Site) -> None:
    def view(request: Any) -> Any:
        with pytest.raises(NotSerializable, match="'Greeting': an argument can't travel"):
            request.temporal.start_workflow("Greeting", object())
        with pytest.raises(PayloadTooLarge, match=r"ptemporal\.payload_limit"):
            request.temporal.start_workflow("Greeting", "x" * 3_000_000)
        with pytest.raises(InvalidCall, match="no option 'task_que'; did you mean 'task_queue'"):
            request.temporal.start_workflow("Greeting", task_que="x")
        with pytest.raises(InvalidCall, match=r"ptemporal\.dispatch_timeout"):
            request.temporal.start_workflow("Greeting", rpc_timeout=timedelta(1))
        with pytest.raises(InvalidCall, match="id=''"):
            request.temporal.start_workflow("Greeting", id="", task_queue="x")
        with pytest.raises(TypeError, match="not both"):
            request.temporal.start_workflow("Greeting", 1, args=[1])
        return True

    assert site.visit(view)


def test_where_a_transaction_is_required_a_start_outside_of_one_is_an_error(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(site.app.conf, "ptemporal.enlist", "required")
    with pytest.raises(NoTransaction):
        temporal(site.wsgi.registry).start_workflow("Greeting", Guest("Ada"))


def test_a_method_that_waits_for_a_worker_is_refused_on_an_event_loop(site: Site) -> None:
    there = temporal(site.wsgi.registry)

    async def asks() -> None:
        there.get_workflow_handle("any").result()

    with pytest.raises(OperationalError, match="would block the event loop"):
        asyncio.run(asks())


def test_eager_mode_has_no_effect_on_workflows(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(site.app.conf, "task_always_eager", True)
    with pytest.warns(AlwaysEagerIgnored):
        handle = temporal(site.wsgi.registry).start_workflow(Greeting.run, Guest("Ada"), task_queue=QUEUE)
    assert handle.result(timeout=30) == ["hello Ada"]


# --- outside a request -------------------------------------------------------------------------------


def test_a_script_joins_its_own_transaction(site: Site) -> None:
    there = temporal(site.wsgi.registry)
    with site.script() as session:
        with transaction.manager:
            session.add(Item(name=unique()))
            kept = there.start_workflow(Greeting.run, Guest("Ada"), task_queue=QUEUE)
            assert site.which_started([kept.id]) == [False]
        transaction.begin()
        lost = there.start_workflow(Greeting.run, Guest("Ada"), task_queue=QUEUE)
        transaction.abort()
    assert site.which_started([kept.id, lost.id]) == [True, False]


def test_asynchronous_code_gets_the_plain_client(site: Site) -> None:
    async def script() -> Any:
        client = await connect(site.wsgi.registry)
        return await client.execute_workflow(Greeting.run, args=[Guest("Ada")], id=unique(), task_queue=QUEUE)

    assert asyncio.run(script()) == ["hello Ada"]

    def view(request: Any) -> Any:
        client = request.temporal.client
        assert client is request.temporal.client
        return asyncio.run(client.execute_workflow(Greeting.run, args=[Guest("Bob")], id=unique(), task_queue=QUEUE))

    assert site.visit(view) == ["hello Bob"]


def test_a_registry_without_an_app_is_an_error() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"config\.include"):
        temporal({})


def test_without_a_server_a_view_is_served_and_the_start_is_logged(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = latest_app()
    site = Site(database, "127.0.0.1:1", **{"ptemporal.dispatch_timeout": "0.2"})
    try:
        with warnings.catch_warnings():
            handle = site.visit(greet)
        assert "committed, but not started" in caplog.text
        assert handle.id in caplog.text
    finally:
        site.close()
        set_current_app(before)
