"""Relays send rows that requests did not dispatch: once, in order, several relays together, even if one is killed."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import itertools
import json
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import event, insert, text, update

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.outbox import outbox, relay, row_format, store
from pyramid_temporal_compat.outbox.dialects import between, in_seconds
from pyramid_temporal_compat.outbox.relay import Relay
from pyramid_temporal_compat.outbox.store import Store, insert_row
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.codecs import chain
from pyramid_temporal_compat.task.call_options import make_message
from tests.enlist.application import UNSERVED, analyse
from tests.outbox.parts import OutboxSite, running, unique
from tests.parts import wait_until
from tests.security import bombs


def message(site: OutboxSite, queue: str = UNSERVED, **changes: Any) -> Message:
    task = site.app.tasks[analyse.name]
    return make_message(site.app, task.name, ("x",), {}, {"queue": queue}, task).copy(**changes)


def put(site: OutboxSite, *units: Any, namespace: str = "default") -> int:
    """Insert a row that is due. Return its id."""
    with site.engine.begin() as connection:
        return insert_row(
            connection,
            namespace=namespace,
            queue=units[0].queue,
            messages=len(units),
            units=row_format.encode_units(units, chain(())),
            wait=0,
        )


@contextlib.contextmanager
def starts() -> Iterator[list[Any]]:
    """Collect the messages that relays ask the server to start in the block, in order."""
    found: list[Any] = []
    original = relay.start_committed

    async def start(client: Any, unit: Any, now: Any) -> None:
        found.append(unit)
        await original(client, unit, now)

    with mock.patch.object(relay, "start_committed", start):
        yield found


def test_relays_share_the_work_and_keep_the_order_of_each_queue(site: OutboxSite) -> None:
    queues = [f"{UNSERVED}-{number}" for number in range(5)]
    messages = [message(site, queues[number % 5]) for number in range(200)]
    for unit in messages:
        put(site, unit)
    with starts() as started, contextlib.ExitStack() as stack:
        for each in [Relay(site.app) for _ in range(3)]:
            in_tens = functools.partial(each.store.claim, batch=10)
            stack.enter_context(mock.patch.object(each.store, "claim", in_tens))
            stack.enter_context(running(each))
        site.is_empty()
    assert sorted(unit.id for unit in started) == sorted(unit.id for unit in messages)
    sent = defaultdict(list)
    for unit in started:
        sent[unit.queue].append(unit.id)
    assert sent == {queue: [unit.id for unit in messages if unit.queue == queue] for queue in queues}
    assert site.has_started(*(unit.id for unit in messages))


def test_a_queue_is_sent_by_one_relay_at_a_time_and_other_queues_go_on(site: OutboxSite) -> None:
    first, second = put(site, message(site, "a")), put(site, message(site, "a"))
    other = put(site, message(site, "b"))
    assert [row.id for row in site.store.claim("one", 30, 1)] == [first]
    assert [row.id for row in site.store.claim("two", 30)] == [other]
    assert site.store.claim("three", 30) == []
    site.store.delete([first])
    assert [row.id for row in site.store.claim("three", 30)] == [second]


def test_rows_of_a_killed_relay_are_taken_over_after_their_lease(site: OutboxSite) -> None:
    unit = message(site)
    put(site, unit)
    assert site.store.claim("killed", 0.5)
    with running(Relay(site.app, poll_interval=0.1)):
        site.is_empty()
    assert site.has_started(unit.id)


def test_rows_whose_relay_was_killed_are_taken_one_at_a_time(site: OutboxSite) -> None:
    had = [put(site, message(site)) for _ in range(3)]
    site.store.claim("killed", 0)
    fresh = put(site, message(site))
    taken = []
    while found := site.store.claim("next", 30):
        taken.append([(row.id, row.lapses, row.attempts) for row in found])
        site.store.delete([row.id for row in found])
    assert taken == [[(row_id, 1, 1)] for row_id in had] + [[(fresh, 0, 1)]]


def test_a_relay_can_renew_and_record_a_row_that_it_has_claimed_alone(site: OutboxSite) -> None:
    row_id = put(site, message(site))
    site.store.claim("killed", 0)
    site.store.claim("killed too", 0)
    (row,) = site.store.claim("one", 30)
    assert (row.lapses, site.rows()[0].claimed_by) == (2, "one#2")
    before = site.rows()[0].claimed_until
    site.store.renew("one", 60, [row_id])
    assert site.rows()[0].claimed_until > before
    put(site, message(site))
    assert site.store.claim("two", 30) == []  # another relay is sending this queue
    site.store.give_back("one", [row_id], "the server is away")
    assert [(row.id == row_id, row.lapses) for row in site.store.claim("two", 30)] == [(True, 0), (False, 0)]


def test_a_row_that_was_refused_before_its_relay_was_killed_gets_all_its_attempts(site: OutboxSite) -> None:
    row_id = put(site, message(site))
    for number in range(1, 7):
        (row,) = site.store.claim("one", 30)
        assert (row.attempts, row.lapses) == (number, 0)
        site.store.put_off("one", row_id, 0, "told to")
    site.store.claim("killed", 0)
    (row,) = site.store.claim("one", 30)
    assert (row.attempts, row.lapses) == (7, 1)


def test_a_relay_whose_host_froze_while_choosing_rows_blocks_no_other_relay(site: OutboxSite) -> None:
    unit, others = message(site), [message(site) for _ in range(2)]
    put(site, unit)
    frozen = Store(site.engine, "default")
    with site.engine.connect() as connection, mock.patch.object(store, "LONGEST_TURN", 0.1):
        with mock.patch.object(frozen, "_begin", return_value=contextlib.nullcontext(connection)):
            assert frozen.claim("frozen", 30)
        for other in others:
            put(site, other)
        with running(Relay(site.app)):
            wait_until(lambda: site.count() == 1)
    with running(Relay(site.app)):  # the database drops its connection
        site.is_empty()
    assert site.has_started(unit.id, *(other.id for other in others))


def test_a_living_relay_keeps_its_rows_beyond_their_lease(site: OutboxSite) -> None:
    put(site, message(site))
    original = relay.start_committed

    async def slowly(client: Any, unit: Any, now: Any) -> None:
        deadline = wait_for_renewal()
        while not deadline():
            await relay.asyncio.sleep(0.01)
        await original(client, unit, now)

    claimed: list[Any] = []

    def wait_for_renewal() -> Any:
        claimed.append(site.rows()[0].claimed_until)
        return lambda: site.rows()[0].claimed_until > claimed[0]

    with mock.patch.object(relay, "start_committed", slowly), running(Relay(site.app, lease=0.3)):
        site.is_empty()


def test_a_message_that_was_started_already_is_not_started_again(site: OutboxSite) -> None:
    task = site.visit(lambda request: analyse.delay("x"))
    site.is_empty()
    run = site.runs_of(task).run_id
    put(site, message(site, id=task.id))
    with running(Relay(site.app)):
        site.is_empty()
    assert site.runs_of(task).run_id == run


def test_a_relay_leaves_the_rows_of_other_namespaces_alone(site: OutboxSite) -> None:
    put(site, message(site), namespace="other")
    put(site, message(site))
    with running(Relay(site.app)):
        wait_until(lambda: [row.namespace for row in site.rows()] == ["other"])


# --- what can't be sent ------------------------------------------------------------------------------


def too_large(size: int) -> Payload:
    return Payload({"encoding": b"json/plain"}, b'"' + b"x" * size + b'"')


@pytest.mark.parametrize(("size", "said"), [(3_000_000, "Blob data size exceeds"), (5_000_000, "larger than max")])
def test_a_message_that_is_too_large_is_parked_with_its_error_and_the_others_go_on(
    site: OutboxSite, size: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    parked = put(site, message(site, body=(too_large(size),)))
    unit = message(site)
    put(site, unit)
    with running(Relay(site.app)):
        wait_until(lambda: site.count() == 1)
        wait_until(lambda: site.rows()[0].parked is not None)
    (row,) = site.rows()
    assert (row.id, row.claimed_by, row.claimed_until) == (parked, None, None)
    assert said in row.error
    assert site.has_started(unit.id)
    assert "can't be sent and are set aside" in caplog.text


def test_a_row_that_nobody_can_read_is_parked(site: OutboxSite) -> None:
    for units in (b"\xff", b"[]", b'{"units": [[]]}', b'{"units": [[{"metadata": {}, "data": "{}"}]]}'):
        row_id = put(site, message(site))
        with site.engine.begin() as connection:
            connection.execute(update(outbox).where(outbox.c.id == row_id).values(units=units))
    with running(Relay(site.app)):
        wait_until(lambda: all(row.parked for row in site.rows()))
    assert ["InvalidTaskError: " in row.error for row in site.rows()] == [True] * 4


def test_a_row_that_is_a_bomb_is_parked_and_the_others_go_on(site: OutboxSite) -> None:
    canvas = [{"metadata": {}, "data": {"base64": b64encode(each.data).decode()}} for each in bombs.canvas()]
    deep = b'{"units":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    for units in (deep, json.dumps({"units": [canvas]}).encode(), b'{"units":' + bombs.lists(5_100_000) + b"}"):
        row_id = put(site, message(site))
        with site.engine.begin() as connection:
            connection.execute(update(outbox).where(outbox.c.id == row_id).values(units=units))
    unit = message(site)
    put(site, unit)
    with running(Relay(site.app)):
        wait_until(lambda: site.count() == 3 and all(row.parked for row in site.rows()), 60)
    assert ["InvalidTaskError: " in row.error for row in site.rows()] == [True] * 3
    assert site.has_started(unit.id)


def test_a_namespace_that_is_gone_parks_its_rows_after_a_few_tries(
    site: OutboxSite, temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "FIRST_DELAY", 0.01)
    app = Celery("elsewhere", set_as_current=False)
    app.conf.update({"ptemporal.address": temporal_address, "ptemporal.namespace": "gone"})
    put(site, message(site), namespace="gone")
    with app, running(Relay(app, site.engine, poll_interval=0.05)):
        wait_until(lambda: site.rows()[0].parked)
    (row,) = site.rows()
    assert row.attempts == relay.ATTEMPTS_IF_REFUSED
    assert "Namespace gone is not found" in row.error


def test_a_row_that_a_healthy_server_refuses_again_and_again_is_parked(
    site: OutboxSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(relay, "LONGEST_DELAY", 0.02)
    bad, good = message(site), message(site)
    put(site, bad)
    put(site, good)
    original = relay.start_committed

    async def start(client: Any, unit: Any, now: Any) -> None:
        if unit.id == bad.id:
            raise relay.RPCError("no idea", relay.RPCStatusCode.UNKNOWN, b"")
        await original(client, unit, now)

    with mock.patch.object(relay, "start_committed", start), running(Relay(site.app, poll_interval=0.02)):
        wait_until(lambda: site.rows()[0].parked)
    (row,) = site.rows()
    assert (row.attempts, row.error) == (relay.ATTEMPTS_IF_TRANSIENT, "RPCError: no idea")
    assert site.has_started(good.id)


@pytest.mark.parametrize(
    "error",
    [
        relay.RPCError("database or disk is full", relay.RPCStatusCode.UNAVAILABLE, b""),
        relay.RPCError("namespace rate limit exceeded", relay.RPCStatusCode.RESOURCE_EXHAUSTED, b""),
        asyncio.TimeoutError(),
    ],
)
def test_no_row_is_parked_while_a_busy_server_accepts_nothing(
    site: OutboxSite, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(relay, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(relay, "LONGEST_DELAY", 0.02)
    unit = message(site)
    put(site, unit)
    original, tries = relay.start_committed, itertools.count(1)

    async def start(client: Any, unit: Any, now: Any) -> None:
        if next(tries) <= relay.ATTEMPTS_IF_TRANSIENT + 1:
            raise error
        await original(client, unit, now)

    with mock.patch.object(relay, "start_committed", start), running(Relay(site.app, poll_interval=0.02)):
        site.is_empty()
    assert site.has_started(unit.id)


@pytest.mark.usefixtures("on_postgresql")
def test_a_parked_row_that_is_retried_is_sent(site: OutboxSite) -> None:
    unit = message(site)
    row_id = put(site, unit)
    site.store.claim("one", 30)
    site.store.park("one", row_id, "told to")
    with running(Relay(site.app, poll_interval=3600)) as found:
        wait_until(lambda: found._sleep._connection is not None)
        assert site.store.retry([row_id + 1]) == 0
        assert site.store.retry([row_id]) == 1
        site.is_empty()
    assert site.has_started(unit.id)


def test_a_row_that_a_newer_release_wrote_waits_for_its_relay(
    site: OutboxSite, caplog: pytest.LogCaptureFixture
) -> None:
    newer = put(site, message(site))
    with site.engine.begin() as connection:
        connection.execute(update(outbox).values(version=row_format.VERSION + 1, units=b"?"))
    unit = message(site)
    put(site, unit)
    with running(Relay(site.app)):
        wait_until(lambda: "a newer release wrote" in caplog.text)
        wait_until(lambda: site.count() == 1)
    (row,) = site.rows()
    assert (row.id, row.parked, row.attempts) == (newer, None, 0)
    assert site.has_started(unit.id)


def test_the_log_says_that_rows_wait_and_when_no_row_waits_any_more(
    site: OutboxSite, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyramid_temporal_compat.outbox.relay.REPORT_INTERVAL", 0.0)
    caplog.set_level("INFO")
    put(site, message(site))
    with site.engine.begin() as connection:
        connection.execute(update(outbox).values(version=row_format.VERSION + 1))
    with running(Relay(site.app, poll_interval=0.05)):
        wait_until(lambda: "1 rows wait in the outbox" in caplog.text)
        assert "any more" not in caplog.text
        site.clear()
        wait_until(lambda: "no row waits in the outbox any more" in caplog.text)


# --- a backlog ---------------------------------------------------------------------------------------


def test_a_batch_is_bounded_in_rows_and_in_bytes(site: OutboxSite) -> None:
    with site.engine.begin() as connection:
        values = {"namespace": "default", "queue": "q", "version": 1, "messages": 1, "created": in_seconds(0)}
        for size in [10] * 150 + [5_000_000] * 2:
            row = insert(outbox).values(**values, due=in_seconds(-10), attempts=0, units=b"x" * size)
            connection.execute(row)
    sizes = []
    while taken := site.store.claim(unique(), 30):
        sizes.append((len(taken), sum(len(row.units) for row in taken)))
        site.store.delete([row.id for row in taken])
    assert sizes == [(store.BATCH, 1000), (51, 5_000_500), (1, 5_000_000)]


def test_a_relay_outlives_its_database(site: OutboxSite, caplog: pytest.LogCaptureFixture) -> None:
    unit = message(site)
    put(site, unit)
    each = Relay(site.app, poll_interval=0.05)
    claim = each.store.claim
    refusals = iter([store.OperationalError("SELECT", {}, Exception("the database system is shutting down"))] * 2)

    def claim_later(*arguments: Any) -> Any:
        refused = next(refusals, None)
        if refused is not None:
            raise refused
        return claim(*arguments)

    with mock.patch.object(each.store, "claim", claim_later), running(each):
        site.is_empty()
    assert "the relay can't read the outbox" in caplog.text
    assert site.has_started(unit.id)


def test_a_relay_leaves_queues_to_others(site: OutboxSite) -> None:
    queues = [f"q{number}" for number in range(store.BATCH_QUEUES + 2)]
    for queue in queues * 2:
        put(site, message(site, queue))
    first, second = site.store.claim("one", 30), site.store.claim("two", 30)
    assert [row.queue for row in first] == queues[: store.BATCH_QUEUES] * 2
    assert [row.queue for row in second] == queues[store.BATCH_QUEUES :] * 2


@pytest.mark.usefixtures("on_postgresql")
def test_no_query_of_a_relay_reads_the_whole_backlog(site: OutboxSite) -> None:
    """PostgreSQL's query plans with many rows. The figures in the guide are for a hundred thousand rows."""
    with site.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ptemporal_outbox (namespace, queue, version, messages, units, created, due, attempts) "
                "SELECT 'default', 'q' || n % 5, 1, 1, repeat('x', 900)::bytea, now(), "
                "now() - n * interval '1 second', 0 FROM generate_series(1, 20000) n"
            )
        )
    with site.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE ptemporal_outbox"))
    sent: list[tuple[str, Any]] = []
    watch = ("before_cursor_execute", lambda _, __, statement, values, *___: sent.append((statement, values)))
    event.listen(site.engine, *watch)
    ids = [row.id for row in site.store.claim("one", 30)]
    site.store.renew("one", 30, ids)
    site.store.give_back("one", ids, None)
    site.store.backlog()
    site.store.has_newer_rows()
    site.store.delete(ids)
    event.remove(site.engine, *watch)
    plans = []
    with site.engine.connect() as connection:
        for statement, values in sent:
            plans.append("\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars()))
            connection.rollback()
    assert len(plans) == 13
    assert [plan for plan in plans if "Seq Scan" in plan] == []
    assert sum("ix_ptemporal_outbox_due" in plan for plan in plans) == 4


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_relay_computes_delays_by_the_callers_clock(site: OutboxSite, hours: int) -> None:
    theirs = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)
    unit = message(site, eta=theirs + datetime.timedelta(seconds=30))
    written = json.loads(row_format.encode_units([unit], chain(())))
    data = json.dumps({**written, "clock": theirs.isoformat()}).encode()
    with site.engine.begin() as connection:
        insert_row(connection, namespace="default", queue=unit.queue, messages=1, units=data, wait=0)
    delays: list[float] = []
    original = relay.start_committed

    async def start(client: Any, unit: Any, now: datetime.datetime) -> None:
        delays.append((unit.eta - now).total_seconds())
        await original(client, unit, now)

    with mock.patch.object(relay, "start_committed", start), running(Relay(site.app)):
        site.is_empty()
    assert 0 < delays[0] <= 31


@pytest.mark.usefixtures("on_postgresql")
def test_the_waiting_time_of_a_row_is_right_across_the_end_of_summer_time(site: OutboxSite) -> None:
    with site.engine.begin() as connection:
        connection.execute(text("SET LOCAL timezone TO 'Europe/Berlin'"))
        moments = text("SELECT timestamptz '2026-10-25 00:30+00', timestamptz '2026-10-25 01:45+00'")
        written, taken = connection.execute(moments).one()
    assert between(written, taken) == datetime.timedelta(minutes=75)
