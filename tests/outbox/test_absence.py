"""While the server is away requests go on, and their messages wait in the outbox."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import event
from temporalio.service import RPCError, RPCStatusCode

from pyramid_temporal_compat.client import server_absence as absence
from pyramid_temporal_compat.enlist import dispatcher
from pyramid_temporal_compat.outbox import writer as keeping
from pyramid_temporal_compat.outbox.relay import Relay
from tests.enlist.application import Item, analyse
from tests.outbox.parts import OutboxSite, Wire, running, unique
from tests.parts import wait_until


@pytest.fixture
def wire(temporal_address: str) -> Iterator[Wire]:
    with Wire(temporal_address) as wire:
        yield wire


@pytest.fixture
def cut_off(outbox_database: str, wire: Wire) -> Iterator[OutboxSite]:
    """An application whose connection to the server can be cut."""
    site = OutboxSite(outbox_database, wire.address, **{"ptemporal.dispatch_timeout": "1"})
    site.clear()
    yield site
    wire.mend()
    site.close()


def order(request: Any) -> Any:
    request.dbsession.add(Item(name=unique()))
    return analyse.delay("x")


def test_requests_do_not_wait_again_for_a_server_that_is_known_to_be_away(
    cut_off: OutboxSite, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    wire.cut()
    with mock.patch.object(dispatcher, "DispatchBatch", wraps=dispatcher.DispatchBatch) as asked:
        tasks = [cut_off.visit(order) for _ in range(20)]
    assert asked.call_count == 1
    assert cut_off.app.dispatcher.absence.lasts
    assert cut_off.count() == 20
    assert all(row.due == row.created for row in cut_off.rows()[1:])
    lines = [record for record in caplog.records if record.name == keeping.__name__]
    assert len(lines) == 1
    assert "wait in the outbox" in lines[0].getMessage()
    assert "not started" not in "".join(r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR)

    wire.mend()
    with running(Relay(cut_off.app)):
        cut_off.is_empty()
    assert cut_off.has_started(*tasks)


def test_a_server_that_hangs_delays_one_request_and_accepts_all_messages_in_the_end(
    cut_off: OutboxSite, wire: Wire
) -> None:
    tasks = [cut_off.visit(order)]
    wire.hang()
    with mock.patch.object(dispatcher, "DispatchBatch", wraps=dispatcher.DispatchBatch) as asked:
        tasks += [cut_off.visit(order) for _ in range(5)]
    assert asked.call_count == 1
    with running(Relay(cut_off.app)):
        wait_until(lambda: all(row.error for row in cut_off.rows()), message="the relay was not told")
        wire.mend()
        cut_off.is_empty()
    assert cut_off.has_started(*tasks)


def test_requests_dispatch_again_once_the_server_is_back(cut_off: OutboxSite, wire: Wire) -> None:
    wire.cut()
    left = cut_off.visit(order)
    absence = cut_off.app.dispatcher.absence
    assert absence.lasts
    wire.mend()
    wait_until(lambda: not absence.lasts, message="the server is taken for away")
    task = cut_off.visit(order)
    assert cut_off.has_started(task)
    wait_until(lambda: cut_off.count() == 1, message="the row of the fast path is left")
    assert not cut_off.has_started(left)


@pytest.mark.parametrize("how", ["cut", "hang"])
def test_a_relay_that_finds_the_server_away_gives_its_rows_back_and_claims_no_more_until_the_server_answers(
    cut_off: OutboxSite, wire: Wire, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    assert cut_off.has_started(cut_off.visit(order))
    getattr(wire, how)()
    tasks = [cut_off.visit(order) for _ in range(3)]
    relay = Relay(cut_off.app)
    with mock.patch.object(relay.store, "claim", wraps=relay.store.claim) as claimed, running(relay):
        wait_until(lambda: "wait in the outbox, the oldest for" in caplog.text, message="the relay says nothing")
        wait_until(lambda: all(row.claimed_by is None and row.error for row in cut_off.rows()))
        (said,) = {found.message for found in caplog.records if "wait in the outbox, the oldest" in found.message}
        assert f"Temporal at {wire.address}" in said
        assert claimed.call_count == 1
        assert [row.attempts for row in cut_off.rows()] == [0, 0, 0]
        wire.mend()
        cut_off.is_empty()
    assert cut_off.has_started(*tasks)


@pytest.mark.usefixtures("on_postgresql")
def test_a_relay_is_woken_by_a_row_that_a_request_could_not_dispatch(cut_off: OutboxSite, wire: Wire) -> None:
    relay = Relay(cut_off.app, poll_interval=3600)
    with running(relay):
        wait_until(lambda: relay._sleep._connection is not None, message="the relay does not listen")
        wire.cut()
        task = cut_off.visit(order)
        wire.mend()
        cut_off.is_empty()
    assert cut_off.has_started(task)


def test_a_failed_message_without_a_row_is_logged_with_its_whole_content(
    cut_off: OutboxSite, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    called = []

    def view(request: Any) -> Any:
        order(request)
        event.listen(request.dbsession, "after_commit", lambda *_: called.append(analyse.delay("after")))

    wire.cut()
    cut_off.visit(view)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert line.startswith("committed, but not started:")
    assert called[0].id in line
    assert cut_off.count() == 1


def test_a_server_that_refuses_the_health_check_is_not_away(
    cut_off: OutboxSite, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: Any) -> None:
        raise RPCError("not with this key", RPCStatusCode.PERMISSION_DENIED, b"")

    wire.cut()
    tasks = [cut_off.visit(order)]
    monkeypatch.setattr(absence, "check_server", refuses)
    wire.mend()
    wait_until(lambda: not cut_off.app.dispatcher.absence.lasts)
    tasks.append(cut_off.visit(order))
    with running(Relay(cut_off.app)):
        cut_off.is_empty()
    assert cut_off.has_started(*tasks)
