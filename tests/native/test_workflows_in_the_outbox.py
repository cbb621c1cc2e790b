"""Starts and signals of hand-written workflows wait in the outbox, and are never carried out twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from pyramid_temporal_compat.exceptions import InvalidTaskError
from pyramid_temporal_compat.message.workflow_call import WorkflowCall
from pyramid_temporal_compat.outbox.relay import Relay
from pyramid_temporal_compat.outbox.row_format import decode_units
from pyramid_temporal_compat.outbox.store import Store
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.codecs import chain as codec_of
from tests.enlist.application import Item, analyse
from tests.native.client_parts import serving, unique
from tests.native.greeting import Greeting, Guest
from tests.outbox.parts import OutboxSite, outbox_site, running, without_dispatch
from tests.parts import fresh_database, wait_until

QUEUE = unique("greetings")


@pytest.fixture(scope="module")
def shared_site(postgres: str, temporal_address: str) -> Iterator[OutboxSite]:
    settings = {"ptemporal.include": "tests.native.greeting"}
    with (
        fresh_database(postgres) as url,
        outbox_site(url, temporal_address, **settings) as site,
        serving(site.wsgi.registry, QUEUE, [Greeting]),
    ):
        yield site


@pytest.fixture
def site(shared_site: OutboxSite) -> OutboxSite:
    return shared_site.as_new()


def greet(request: Any, name: str = "Ada", waits: bool = False, **options: Any) -> Any:
    request.dbsession.add(Item(name=unique()))
    return request.temporal.start_workflow(Greeting.run, Guest(name, waits), task_queue=QUEUE, **options)


def relay(site: OutboxSite) -> None:
    site.hurry()
    with running(Relay(site.app)):
        site.is_empty()


def runs_of(site: OutboxSite, workflow_id: str) -> list[str]:
    """Return the run ids of all workflows that had this id."""

    async def ask(client: Any) -> list[str]:
        return [found.run_id async for found in client.list_workflows(f"WorkflowId = '{workflow_id}'")]

    return site.app.temporal.call(ask, 30)


def test_the_row_of_a_start_is_gone_once_the_workflow_has_started(site: OutboxSite) -> None:
    assert site.visit(greet).result(timeout=30) == ["hello Ada"]
    site.is_empty()


def test_a_relay_starts_what_a_killed_process_has_committed(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        task = analyse.delay("x")
        handle = greet(request, waits=True)  # else it can end before its signals come
        handle.signal(Greeting.say, "later", after_commit=True)
        handle.signal(Greeting.open, after_commit=True)
        return task.id, handle

    with without_dispatch():
        task_id, handle = site.visit(view)
    (row,) = site.rows()
    assert (row.messages, row.version) == (4, 1)
    assert site.which_started([task_id, handle.id]) == [False, False]
    relay(site)
    assert site.which_started([task_id, handle.id]) == [True, True]
    assert handle.result(timeout=30) == ["hello Ada", "later"]


def test_what_is_rolled_back_leaves_no_row(site: OutboxSite) -> None:
    def view(request: Any) -> Any:
        greet(request)
        raise ZeroDivisionError

    with without_dispatch(), pytest.raises(ZeroDivisionError):
        site.visit(view)
    assert site.rows() == []


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="default"),
        pytest.param({"id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE}, id="allow duplicate"),
        pytest.param({"id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE}, id="reject duplicate"),
        pytest.param({"id_conflict_policy": WorkflowIDConflictPolicy.TERMINATE_EXISTING}, id="terminate existing"),
        pytest.param({"id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING}, id="use existing"),
    ],
)
@pytest.mark.parametrize("ended", [False, True])
def test_a_row_that_is_sent_twice_starts_one_workflow(
    site: OutboxSite, options: dict[str, Any], ended: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def view(request: Any) -> Any:
        return request.temporal.start_workflow(
            Greeting.run, Guest("Ada", waits=True), id=unique(), task_queue=QUEUE, **options
        )

    with mock.patch.object(Store, "delete"):  # as if the process died after the start, before it deleted the row
        handle = site.visit(view)
        assert site.app.outbox is not None
        site.app.outbox.sweeper(site.engine).flush(10)
    assert site.count() == 1
    (run_id,) = wait_until(lambda: runs_of(site, handle.id))
    if ended:
        handle.signal(Greeting.open)
        handle.result(timeout=30)
    relay(site)
    assert handle.describe().run_id == run_id
    assert "another workflow has this id" not in caplog.text
    if not ended:
        handle.terminate()


def test_a_start_that_used_an_existing_workflow_starts_none_when_it_is_sent_again(site: OutboxSite) -> None:
    name = unique()
    options = {"id": name, "task_queue": QUEUE, "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING}
    handle = site.visit(
        lambda request: request.temporal.start_workflow(Greeting.run, Guest("Ada", waits=True), **options)
    )
    first = handle.describe().run_id
    with mock.patch.object(Store, "delete"):
        site.visit(lambda request: request.temporal.start_workflow(Greeting.run, Guest("Bob"), **options))
        assert site.app.outbox is not None
        site.app.outbox.sweeper(site.engine).flush(10)
    handle.signal(Greeting.open)
    assert handle.result(timeout=30) == ["hello Ada"]
    relay(site)
    assert handle.describe().run_id == first


def test_a_signal_that_is_sent_twice_arrives_once(site: OutboxSite) -> None:
    handle = site.visit(
        lambda request: request.temporal.start_workflow(Greeting.run, Guest("Ada", waits=True), task_queue=QUEUE)
    )
    site.is_empty()
    with mock.patch.object(Store, "delete"):
        site.visit(lambda request: handle.signal(Greeting.say, "once", after_commit=True))
        assert site.app.outbox is not None
        site.app.outbox.sweeper(site.engine).flush(10)
    assert site.count() == 1
    relay(site)
    handle.signal(Greeting.open)
    assert handle.result(timeout=30) == ["hello Ada", "once"]


def test_a_relay_drops_a_row_whose_id_another_workflow_has(site: OutboxSite, caplog: pytest.LogCaptureFixture) -> None:
    name = unique()
    site.visit(
        lambda request: request.temporal.start_workflow(
            Greeting.run, Guest("Ada", waits=True), id=name, task_queue=QUEUE
        )
    )
    with without_dispatch():
        handle = site.visit(lambda request: greet(request, "Bob", id=name))
    relay(site)
    assert "another workflow has this id" in caplog.text
    handle.signal(Greeting.open)
    assert handle.result(timeout=30) == ["hello Ada"]


def test_a_relay_takes_the_time_that_has_passed_off_a_start_delay(site: OutboxSite) -> None:
    with without_dispatch():
        handle = site.visit(lambda request: greet(request, start_delay=timedelta(milliseconds=1)))
        delayed = site.visit(lambda request: greet(request, start_delay=timedelta(hours=1)))
    relay(site)
    assert handle.result(timeout=30) == ["hello Ada"]
    info = delayed.describe().raw_description.workflow_execution_info
    assert info.execution_time.ToDatetime() - info.start_time.ToDatetime() < timedelta(hours=1)
    assert delayed.describe().status is WorkflowExecutionStatus.RUNNING
    delayed.terminate()


def test_a_row_holds_the_call_as_it_was_made(site: OutboxSite) -> None:
    with without_dispatch():
        handle = site.visit(greet)
    (row,) = site.rows()
    (call,) = decode_units(row.units, codec_of([]))
    assert isinstance(call, WorkflowCall)
    assert (call.workflow_id, call.task, call.queue) == (handle.id, "Greeting", QUEUE)
    about, request = call.encode()
    assert WorkflowCall.decode(about.data, [request]) == call
    for wrong in (b"{}", b'{"ptemporal-call":1}', about.data.replace(b'"ptemporal-call":1', b'"ptemporal-call":2')):
        with pytest.raises(InvalidTaskError):
            WorkflowCall.decode(wrong, [Payload({}, b"")])
    site.clear()
