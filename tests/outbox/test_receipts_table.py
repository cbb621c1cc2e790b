"""The table of receipts: rows of older releases are read, and a large table is read by an index."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from pyramid_temporal_compat.outbox import dialects, receipt_store, receipts
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.worker.outcome import InDoubt, Outcome, ReceiptUse, Replaced, Succeeded
from tests.outbox import desk as tasks
from tests.outbox.desk import NAMESPACE, Desk

CHILDREN = {"encoding": b"json/plain", "ptemporal-children": b'[[["child", null], null]]'}
RECORDED: dict[str, tuple[bytes, Outcome]] = {
    "result": (
        base64.b64decode(
            "ChYKCGVuY29kaW5nEgpqc29uL3BsYWluCi8KEnB0ZW1wb3JhbC1jaGlsZHJlbhIZW1tbImNoaWxkIiwgbnVsbF0sIG51bGxdXQob"
            "ChFwdGVtcG9yYWwtcmVjZWlwdBIGcmVzdWx0EgYiZG9uZSI="
        ),
        Succeeded(Payload(CHILDREN, b'"done"')),
    ),
    "tree": (
        base64.b64decode(
            "ChYKCGVuY29kaW5nEgpqc29uL3BsYWluChkKEXB0ZW1wb3JhbC1yZWNlaXB0EgR0cmVlEkxbeyJtZXRhZGF0YSI6IHsiZW5jb2Rp"
            "bmciOiAiYW5OdmJpOXdiR0ZwYmc9PSJ9LCAiZGF0YSI6ICJleUowY21WbElqb2dNWDA9In1d"
        ),
        Replaced((Payload({"encoding": b"json/plain"}, b'{"tree": 1}'),)),
    ),
}
"""Receipts as each release wrote them. Never change an entry, only add new ones."""


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    desk = Desk(database_url)
    yield desk
    desk.close()


def put(desk: Desk, result: bytes) -> None:
    place = {"task_id": "task-1", "namespace": NAMESPACE, "workflow_id": "task-1", "run_id": "run-1"}
    with desk.engine.begin() as connection:
        connection.execute(insert(receipts).values(**place, result=result, created=dialects.now()))


@pytest.mark.parametrize("kind", RECORDED)
def test_receipts_of_older_releases_are_read(desk: Desk, kind: str) -> None:
    written, outcome = RECORDED[kind]
    put(desk, written)
    found = desk.run(desk.job(tasks.writes, "x", attempt=2))
    assert found == outcome
    assert isinstance(found, (Succeeded, Replaced))
    assert found.receipt is ReceiptUse.FOUND
    assert desk.texts() == []


def test_the_outcome_of_a_run_says_that_it_has_left_a_receipt(desk: Desk) -> None:
    wrote = desk.run(desk.job(tasks.writes, "x"))
    assert isinstance(wrote, Succeeded)
    assert wrote.receipt is ReceiptUse.LEFT


def test_a_receipt_of_a_newer_release_is_left_to_that_releases_workers(desk: Desk) -> None:
    put(desk, RECORDED["result"][0].replace(b"\x06result", b"\x06future"))
    outcome = desk.run(desk.job(tasks.writes, "x", attempt=2))
    assert isinstance(outcome, InDoubt)
    assert "'future', which this release does not know" in str(outcome.error["text"])
    assert desk.texts() == []


@contextmanager
def planned(connection: Any) -> Iterator[list[str]]:
    """Collect the query plans of the statements in the block."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        statements.append((statement, values))

    plans: list[str] = []
    event.listen(connection, "before_cursor_execute", note)
    try:
        yield plans
    finally:
        event.remove(connection, "before_cursor_execute", note)
    for statement, values in statements:
        plans.append("\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars()))


def test_the_oldest_of_many_are_found_and_removed_by_an_index(desk: Desk) -> None:
    with desk.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ptemporal_receipts (task_id, namespace, workflow_id, run_id, result, created) "
                "SELECT 'task-' || n, 'default', 'task-' || n, 'run', '', now() - n * interval '1 minute' "
                "FROM generate_series(1, 20000) n"
            )
        )
        connection.execute(text("ANALYZE ptemporal_receipts"))
        with planned(connection) as plans:
            first = receipt_store.old_receipts(connection, NAMESPACE, 3600, None, 500)
            second = receipt_store.old_receipts(connection, NAMESPACE, 3600, first[-1], 500)
            ids = [found.task_id for found in first]
            assert receipt_store.delete_receipts(connection, NAMESPACE, ids, 3600) == 500
    assert [first[0].task_id, first[-1].task_id, second[0].task_id] == ["task-20000", "task-19501", "task-19500"]
    assert ["ix_ptemporal_receipts_created" in plan for plan in plans] == [True, True, False]
    assert "ptemporal_receipts_pkey" in plans[2]
    assert [plan for plan in plans if "Seq Scan" in plan] == []


def test_a_database_error_shows_no_result(desk: Desk) -> None:
    whose = receipt_store.TaskRun("task-1", NAMESPACE, "task-1", "run-1")
    with desk.engine.begin() as connection:
        receipt_store.insert_receipt(connection, whose, b"secret")
        with pytest.raises(receipt_store.ReceiptExists) as caught:
            receipt_store.insert_receipt(connection, whose, b"secret")
    assert "secret" not in str(caught.value.__cause__)


def test_receipts_of_one_moment_are_all_seen(desk: Desk) -> None:
    moment = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    rows = [
        {
            "task_id": f"task-{n}",
            "namespace": NAMESPACE,
            "workflow_id": "w",
            "run_id": "r",
            "result": b"",
            "created": moment,
        }
        for n in range(7)
    ]
    with desk.engine.begin() as connection:
        connection.execute(insert(receipts), rows)
        seen, last = [], None
        while batch := receipt_store.old_receipts(connection, NAMESPACE, 1, last, 2):
            seen += [found.task_id for found in batch]
            last = batch[-1]
    assert seen == [f"task-{n}" for n in range(7)]


def test_a_receipt_that_was_written_again_meanwhile_is_not_removed(desk: Desk) -> None:
    job = desk.job(tasks.writes, "x")
    desk.run(job)
    with desk.engine.begin() as connection:
        connection.execute(text("UPDATE ptemporal_receipts SET created = now() - interval '1 day'"))
        (found,) = receipt_store.old_receipts(connection, NAMESPACE, 3600, None, 10)
    desk.run(replace(job, run_id="run-2", known_runs={"run-1": False}))
    with desk.engine.begin() as connection:
        assert receipt_store.delete_receipts(connection, NAMESPACE, [found.task_id], 3600) == 0
