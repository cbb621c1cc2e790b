"""A task's effects happen once, however often it runs: its receipt is inserted, found, and decides the outcome."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.pool import NullPool

from pyramid_temporal_compat import Task, shared_task, signals
from pyramid_temporal_compat.exceptions import ImproperlyConfigured, WorkerLostError
from pyramid_temporal_compat.message import wire_names as wire
from pyramid_temporal_compat.outbox import metadata as our_tables
from pyramid_temporal_compat.outbox import receipt_store, receipts
from pyramid_temporal_compat.payload import Payload
from pyramid_temporal_compat.payload.codecs import pack
from pyramid_temporal_compat.payload.types import Unreadable
from pyramid_temporal_compat.worker.outcome import (
    EndedWithoutResult,
    Failed,
    InDoubt,
    ReceiptOfAnotherRun,
    Replaced,
    Retried,
    Succeeded,
)
from pyramid_temporal_compat.worker.runner import Runner
from pyramid_temporal_compat.worker.runs.receipts import KIND, TREE, Receipts
from tests.outbox import desk as tasks
from tests.outbox import mariadb
from tests.outbox.desk import Desk, value_of
from tests.parts import fresh_database
from tests.worker.shop import gates, seen

SERVED = [
    pytest.param(name, marks=pytest.mark.integration)
    for name in ("postgresql", *(["mysql"] if mariadb.is_there() else []))
]


@pytest.fixture(params=[*SERVED, "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'desk.sqlite'}"
        return
    if request.param == "mysql":
        yield request.getfixturevalue("mysql_database")
        return
    with fresh_database(request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture
def desk(database: str) -> Iterator[Desk]:
    desk = Desk(database)
    yield desk
    desk.close()


# --- another attempt -----------------------------------------------------------------------------------


def test_an_attempt_after_a_committed_attempt_returns_its_result_and_calls_nothing(desk: Desk) -> None:
    job = desk.job(tasks.writes, "once")
    first = desk.run(job)
    assert desk.receipts() == ["task-1"]
    assert desk.run(replace(job, attempt=2)) == first
    assert value_of(first) == {"text": "once", "run": 1}
    assert (seen["called"], desk.texts()) == (["once"], ["once"])


def test_a_redelivered_attempt_finds_the_receipt(desk: Desk) -> None:
    job = desk.job(tasks.writes_as_coroutine, "once")
    first = desk.run(job)
    assert desk.run(replace(job, redelivered=True)) == first
    assert desk.texts() == ["once"]


def test_tasks_with_other_ids_have_receipts_of_their_own(desk: Desk) -> None:
    for task_id in ("a", "a/1", "A", "a" * 900, "a" * 899 + "b"):
        assert isinstance(desk.run(desk.job(tasks.writes, "x", task_id=task_id, attempt=2)), Succeeded)
    assert len(desk.texts()) == desk.count() == 5


def test_the_same_id_in_another_namespace_is_another_task(desk: Desk) -> None:
    job = desk.job(tasks.writes, "x")
    desk.run(job)
    assert value_of(desk.run(replace(job, namespace="other", attempt=2)))["run"] == 2


@pytest.mark.parametrize("first_to_commit", ["first", "second"])
def test_of_two_attempts_at_once_one_commits_and_both_have_its_result(desk: Desk, first_to_commit: str) -> None:
    first = desk.begin(desk.job(tasks.writes_at_a_gate, "once", "first"))
    gates["first"].reached()
    second = desk.begin(desk.job(tasks.writes_at_a_gate, "once", "second", attempt=2))
    gates["second"].reached()
    gates[first_to_commit].open()
    winner, loser = (first, second) if first_to_commit == "first" else (second, first)
    assert value_of(winner.result(20)) == first_to_commit
    for gate in list(gates.values()):
        gate.open()
    assert loser.result(20) == winner.result()
    assert desk.texts() == ["once"]


def test_many_attempts_at_once_have_one_effect(desk: Desk) -> None:
    if desk.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: a second writer gives up before this test is over")
    barrier = threading.Barrier(8)
    seen["barrier"].append(barrier)
    runs = [desk.begin(desk.job(meets, number, attempt=number + 1)) for number in range(8)]
    results = {value_of(run.result(20)) for run in runs}
    assert len(results) == len(desk.texts()) == 1


LOCK_TIMEOUTS = {"postgresql": "SET lock_timeout = 300", "mysql": "SET innodb_lock_wait_timeout = 1"}


def test_a_run_that_waits_for_another_runs_commit_beyond_the_lock_timeout_is_in_doubt(desk: Desk) -> None:
    if desk.engine.dialect.name not in LOCK_TIMEOUTS:
        pytest.skip("SQLite reports a lock timeout as a locked database, which counts as an absent database")

    def impatient(raw: Any, _: Any) -> None:
        raw.cursor().execute(LOCK_TIMEOUTS[desk.engine.dialect.name])
        raw.commit()

    event.listen(desk.engine, "connect", impatient)
    desk.engine.dispose()
    job = desk.job(tasks.writes, "x", attempt=2)
    with desk.engine.connect() as other:
        place = receipt_store.TaskRun("task-1", tasks.NAMESPACE, "task-1", "run-1")
        receipt_store.insert_receipt(other, place, b"")
        assert isinstance(desk.run(job), InDoubt)
        other.rollback()
    assert isinstance(desk.run(job), Succeeded)
    assert (desk.texts(), desk.receipts()) == (["x"], ["task-1"])


def test_attempts_that_conflict_in_the_database_have_one_effect(postgres: str) -> None:
    with fresh_database(postgres) as url:
        desk = Desk(url)
        with desk.engine.connect() as connection:
            name = connection.scalar(text("select current_database()"))
            connection.execute(text(f"alter database {name} set default_transaction_isolation = serializable"))
            connection.commit()
        desk.engine.dispose()  # so that new connections have the setting
        seen["barrier"].append(threading.Barrier(4))
        runs = [desk.begin(desk.job(reads_and_meets, number, attempt=number + 1)) for number in range(4)]
        results = {value_of(run.result(20)) for run in runs}
        assert len(results) == len(desk.texts()) == 1
        desk.close()


@shared_task(bind=True)
def reads_and_meets(self: Any, number: int) -> int:
    list(self.pyramid_request.dbsession.execute(select(tasks.effects)))
    if number not in seen["met"]:  # only in the first attempt, not after a conflict
        seen["met"].append(number)
        seen["barrier"][0].wait(20)
    tasks.write(self, str(number))
    return number


@shared_task(bind=True)
def meets(self: Any, number: int) -> int:
    seen["barrier"][0].wait(20)
    tasks.write(self, str(number))
    return number


def test_a_run_that_fails_because_another_run_has_committed_succeeds(desk: Desk) -> None:
    second = desk.begin(desk.job(tasks.fails_at_a_gate, "once", "second", attempt=2))
    gates["second"].reached()
    gates["first"].open()
    first = desk.run(desk.job(tasks.fails_at_a_gate, "once", "first"))
    gates["second"].open()
    assert second.result(20) == first
    assert desk.texts() == ["once"]


def test_sessions_found_by_name_and_two_phase_commits(postgres: str) -> None:
    with fresh_database(postgres) as url:
        settings = {
            "ptemporal.outbox": "tests.outbox.desk:DBSession",
            "tm.manager_hook": "tests.outbox.desk.threads_own",
        }
        desk = Desk(url, **settings)
        tasks.DBSession.configure(bind=desk.engine)
        job = desk.job(tasks.writes_in_two_phases, "once")
        first = desk.run(job)
        assert desk.run(replace(job, attempt=2)) == first
        assert (seen["called"], desk.texts(), desk.receipts()) == (["once"], ["once"], ["task-1"])
        tasks.DBSession.remove()
        desk.close()


def test_an_attempt_that_has_looked_for_a_receipt_holds_no_connection_until_its_task_uses_one(desk: Desk) -> None:
    if isinstance(desk.engine.pool, NullPool):
        pytest.skip("SQLAlchemy 1.4 has no pool for SQLite that counts connections")
    run = desk.begin(desk.job(looks_at_a_gate, attempt=2))
    gates["before"].reached()
    assert desk.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    with desk.engine.begin() as connection:
        connection.execute(tasks.effects.insert().values(text="meanwhile"))
    gates["before"].open()
    assert value_of(run.result(20)) == ["meanwhile"]


@shared_task(bind=True)
def looks_at_a_gate(self: Any) -> list[str]:
    gates["before"].pass_through()
    return list(self.pyramid_request.dbsession.scalars(select(tasks.effects.c.text)))


# --- what leaves a receipt -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("failure", Failed),
        ("too large", Failed),
        ("retry", Retried),
        ("ignore", EndedWithoutResult),
        ("doomed", Succeeded),
    ],
)
def test_a_run_that_is_rolled_back_leaves_no_receipt(desk: Desk, how: str, kind: type) -> None:
    job = desk.job(tasks.ends_as, how)
    for attempt in (1, 2):
        assert isinstance(desk.run(replace(job, attempt=attempt)), kind)
    assert (desk.texts(), desk.receipts()) == ([], [])


@pytest.mark.parametrize("task", [tasks.reads, tasks.touches_nothing])
def test_a_task_that_writes_nothing_leaves_no_receipt(desk: Desk, task: Any) -> None:
    assert isinstance(desk.run(desk.job(task)), Succeeded)
    assert desk.receipts() == []


def test_a_task_that_commits_by_itself_leaves_a_receipt_with_its_last_transaction(desk: Desk) -> None:
    job = desk.job(tasks.commits_itself, "mine")
    first = desk.run(job)
    assert desk.run(replace(job, attempt=2)) == first
    assert (seen["called"], desk.texts()) == (["mine"], ["mine"])


def test_a_task_that_writes_in_a_tenants_schema_has_its_receipt_in_the_engines_schema(postgres: str) -> None:
    with fresh_database(postgres) as url:
        desk = Desk(url)
        tenants = desk.engine.execution_options(schema_translate_map={None: "tenant"})
        with desk.engine.begin() as connection:
            connection.execute(text("CREATE SCHEMA tenant"))
        for tables in (tasks.metadata, our_tables):
            tables.create_all(tenants)
        job = desk.job(tasks.writes_for_a_tenant, "once")
        first = desk.run(job)
        assert desk.run(replace(job, attempt=2)) == first
        assert (seen["called"], desk.texts(), desk.receipts()) == (["once"], [], ["task-1"])
        desk.close()


def test_a_task_whose_sessions_commit_apart_leaves_no_receipt(postgres: str, caplog: pytest.LogCaptureFixture) -> None:
    with fresh_database(postgres) as url:
        desk = Desk(url)
        runner = Runner(desk.app)
        for both in (True, False):
            job = desk.job(tasks.writes_in_another_session, "x", both, task_id=f"both {both}")
            assert isinstance(runner(job, tasks.Control()), Succeeded)
        assert (len(desk.texts()), desk.receipts()) == (3, [])
        assert caplog.text.count("it leaves no receipt, and may write twice") == 1
        desk.close()


def test_a_task_whose_session_uses_two_databases_leaves_no_receipt(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.run(desk.job(tasks.writes_in_two_databases, "x"))
    assert (desk.texts(), desk.receipts()) == (["x"], [])
    assert "does not commit together" in caplog.text


def test_a_run_that_was_replaced_is_replaced_by_the_same_tree_again(desk: Desk) -> None:
    job = desk.job(tasks.is_replaced, "first")
    first = desk.run(job)
    assert isinstance(first, Replaced)
    assert desk.run(replace(job, attempt=2)) == first
    assert (seen["called"], desk.texts()) == (["first"], ["first"])


def test_a_replacement_task_has_the_same_id_and_runs_nevertheless(desk: Desk) -> None:
    desk.run(desk.job(tasks.is_replaced, "first"))
    instead = desk.job(tasks.writes, "second", options={"replaced_task_nesting": 1}, attempt=2)
    first = desk.run(instead)
    assert desk.run(instead) == first
    assert desk.texts() == ["first", "second"]
    assert desk.receipts() == ["task-1", "task-1#1"]


def test_an_ignored_result_is_not_in_the_receipt(desk: Desk) -> None:
    job = desk.job(tasks.forgets, "x")
    first = desk.run(job)
    assert isinstance(first, Succeeded)
    assert wire.NOT_KEPT in first.result.metadata
    assert desk.run(replace(job, attempt=2)) == first


def test_the_receipt_is_encrypted_if_payloads_are(database: str) -> None:
    desk = Desk(database, **{"ptemporal.encryption_keys": f"k1:{base64.b64encode(bytes(32)).decode()}"})
    job = desk.job(tasks.writes, "secret")
    first = desk.run(job)
    with desk.engine.connect() as connection:
        stored = bytes(connection.scalar(select(receipts.c.result)))
    assert b"secret" not in stored
    assert b"encrypted" in stored
    assert desk.run(replace(job, attempt=2)) == first
    desk.close()


def test_the_result_names_the_children_of_the_first_run(desk: Desk) -> None:
    job = desk.job(has_children)
    first = desk.run(job)
    second = desk.run(replace(job, attempt=2))
    assert isinstance(first, Succeeded)
    assert isinstance(second, Succeeded)
    assert second.result == wire.with_children(first.result, first.children)
    assert first.children


@shared_task(bind=True)
def has_children(self: Any) -> None:
    tasks.write(self, "parent")
    self.add_trail(self.AsyncResult("a-child"))


# --- a commit of which the reply was lost ---------------------------------------------------------------


@pytest.mark.parametrize("error", ["retryable", "cut"])
def test_a_commit_whose_reply_is_lost_has_succeeded(desk: Desk, error: str) -> None:
    job = desk.job(tasks.commit_reply_is_lost, "once", error)
    assert value_of(desk.run(job)) == "once"
    assert (seen["called"], desk.texts()) == (["once"], ["once"])


def test_a_task_whose_receipt_cannot_be_read_is_in_doubt(desk: Desk) -> None:
    job = desk.job(tasks.writes, "x")
    first = desk.run(job)
    with desk.engine.begin() as connection:
        connection.execute(text("alter table ptemporal_receipts rename to elsewhere"))
    assert isinstance(desk.run(replace(job, attempt=2)), InDoubt)
    with desk.engine.begin() as connection:
        connection.execute(text("alter table elsewhere rename to ptemporal_receipts"))
        connection.execute(text("update ptemporal_receipts set result = :new"), {"new": b"\x0a\x03abc"})
    assert isinstance(desk.run(replace(job, attempt=3)), InDoubt)
    assert isinstance(first, Succeeded)
    assert desk.texts() == ["x"]


def test_a_receipt_of_a_canvas_without_payloads_is_not_read(desk: Desk) -> None:
    empty = pack(Payload({"encoding": b"json/plain", KIND: TREE}, b"[]"))
    with pytest.raises(Unreadable, match="without payloads"):
        Receipts(desk.app).read(empty)


def test_a_task_that_was_ended_from_outside_after_its_commit_has_succeeded(desk: Desk) -> None:
    job = desk.job(tasks.writes, "x")
    first = desk.run(job)
    assert desk.run(replace(job, failed_with=WorkerLostError("killed"))) == first
    other = desk.job(tasks.writes, "y", task_id="other", failed_with=WorkerLostError("killed"))
    assert isinstance(desk.run(other), Failed)


# --- the same id again ---------------------------------------------------------------------------------


def test_a_receipt_of_another_run_of_the_workflow_is_for_the_server_to_judge(desk: Desk) -> None:
    job = desk.job(tasks.writes, "first")
    first = desk.run(job)
    later = desk.job(tasks.writes, "second", run_id="run-2")
    assert desk.run(later) == ReceiptOfAnotherRun("task-1", "run-1")
    assert desk.texts() == ["first"]
    assert desk.run(replace(later, known_runs={"run-1": True})) == first


def test_a_new_task_of_the_same_id_runs_and_its_receipt_takes_the_place_of_the_old_one(desk: Desk) -> None:
    desk.run(desk.job(tasks.writes, "first"))
    later = desk.job(tasks.writes, "second", run_id="run-2", known_runs={"run-1": False})
    second = desk.run(later)
    assert desk.run(replace(later, known_runs={}, attempt=2)) == second
    assert desk.run(later) == second
    assert (desk.texts(), desk.receipts()) == (["first", "second"], ["task-1"])


# --- hooks and signals ---------------------------------------------------------------------------------


class Telling(Task):
    abstract = True

    def before_start(self, *args: Any) -> None:
        seen["told"].append("before_start")

    def on_success(self, retval: Any, *args: Any) -> None:
        seen["told"].append(f"on_success {retval}")

    def after_return(self, *args: Any) -> None:
        seen["told"].append("after_return")


@shared_task(bind=True, base=Telling)
def tells(self: Any) -> str:
    tasks.write(self, "x")
    return "well"


def test_success_hooks_run_again_because_the_first_worker_may_have_died_before_them(desk: Desk) -> None:
    def note(name: str) -> Any:
        return lambda sender, **details: seen["told"].append(name)

    receivers = {name: note(name) for name in ("task_prerun", "task_postrun", "task_success")}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver)
    try:
        job = desk.job(tells)
        desk.run(job)
        around = ["task_prerun", "before_start", "on_success well", "task_success", "after_return", "task_postrun"]
        assert seen.pop("told") == around
        desk.run(replace(job, attempt=2))
        assert seen["told"] == ["on_success well", "task_success", "after_return"]
    finally:
        for name, receiver in receivers.items():
            getattr(signals, name).disconnect(receiver)


# --- what is to be set up ------------------------------------------------------------------------------


def test_receipts_without_an_outbox_are_an_error_at_the_start(desk: Desk) -> None:
    desk.app.conf["ptemporal.outbox"] = None
    with pytest.raises(ImproperlyConfigured, match=r"set ptemporal\.outbox = dbsession"):
        Runner(desk.app)


def test_a_missing_table_is_an_error_at_the_start(desk: Desk) -> None:
    runner = Runner(desk.app)
    assert runner.receipts is not None
    runner.receipts.check()
    receipts.drop(desk.engine)
    with pytest.raises(ImproperlyConfigured, match=r"no table ptemporal_receipts; make it with: .* outbox init"):
        runner.receipts.check()


def test_without_receipts_a_task_leaves_none(desk: Desk) -> None:
    desk.app.conf["ptemporal.receipts"] = False
    assert Runner(desk.app).receipts is None
    desk.run(desk.job(tasks.writes, "x"))
    assert desk.receipts() == []
