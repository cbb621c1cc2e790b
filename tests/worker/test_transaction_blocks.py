"""`with request.tm:` inside a task, under `pyramid_tm.explicit_manager`: the block is the unit of work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyramid.scripting import prepare
from sqlalchemy.exc import OperationalError
from transaction.interfaces import AlreadyInTransaction, NoTransaction
from zope.sqlalchemy import datamanager

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.worker.outcome import Failed, Retried, Succeeded
from tests.outbox.desk import Desk, value_of, write
from tests.parts import wait_until
from tests.worker.shop import Line, Shop, gates, note, seen


@pytest.fixture(params=["with receipts", "without receipts"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    receipts = str(request.param == "with receipts").lower()
    desk = Desk(f"sqlite:///{tmp_path / 'desk.sqlite'}", **{"ptemporal.receipts": receipts})
    yield desk
    desk.close()


@pytest.fixture
def desk_with_receipts(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(f"sqlite:///{tmp_path / 'desk.sqlite'}")
    yield desk
    desk.close()


def names_the_type(outcome: Any) -> str:
    assert isinstance(outcome, Failed), outcome
    return str(outcome.error["type"])


# --- what the application sees ---------------------------------------------------------------------------


@shared_task(bind=True)
def one_block(self: Any, text: str) -> str:
    seen["called"].append(text)
    with self.pyramid_request.tm:
        write(self, text)
    return text


def test_a_block_commits_its_work(desk: Desk) -> None:
    assert value_of(desk.run(desk.job(one_block, "packed"))) == "packed"
    assert desk.texts() == ["packed"]


@shared_task(bind=True)
def begins_by_hand(self: Any, text: str) -> None:
    manager = self.pyramid_request.tm
    manager.begin()
    write(self, text)
    manager.commit()
    manager.begin()
    write(self, "gone")
    manager.abort()


def test_begin_commit_and_abort_by_hand_are_blocks_too(desk: Desk) -> None:
    assert isinstance(desk.run(desk.job(begins_by_hand, "packed")), Succeeded)
    assert desk.texts() == ["packed"]


@shared_task(bind=True)
def fails_in_its_block(self: Any) -> None:
    with self.pyramid_request.tm:
        write(self, "gone")
        raise KeyError("no such parcel")


def test_an_error_in_a_block_aborts_it_and_fails_the_task(desk: Desk) -> None:
    assert names_the_type(desk.run(desk.job(fails_in_its_block))) == "KeyError"
    assert desk.texts() == []


@shared_task(bind=True)
def goes_on_after_an_error(self: Any) -> str:
    request = self.pyramid_request
    try:
        with request.tm:
            write(self, "gone")
            raise KeyError("no such parcel")
    except KeyError:
        with request.tm:
            write(self, "marked as failed")
    return "handled"


def test_an_error_that_the_task_catches_drops_only_its_block(desk: Desk) -> None:
    assert value_of(desk.run(desk.job(goes_on_after_an_error))) == "handled"
    assert desk.texts() == ["marked as failed"]


@shared_task(bind=True)
def two_blocks(self: Any, second_fails: bool) -> None:
    request = self.pyramid_request
    with request.tm:
        write(self, "first")
    with request.tm:
        write(self, "second")
        if second_fails:
            raise KeyError("no such parcel")


def test_each_of_several_blocks_is_a_unit_of_work(desk: Desk) -> None:
    desk.run(desk.job(two_blocks, False))
    assert desk.texts() == ["first", "second"]


def test_a_block_that_has_ended_stays_committed_if_a_later_block_fails(desk: Desk) -> None:
    assert names_the_type(desk.run(desk.job(two_blocks, True))) == "KeyError"
    assert desk.texts() == ["first"]


@shared_task(bind=True)
def marks_and_raises(self: Any, again: bool) -> None:
    with self.pyramid_request.tm:
        write(self, "marked as failed")
    if again:
        raise self.retry(exc=KeyError("no such parcel"))
    raise KeyError("no such parcel")


def test_a_block_that_has_ended_stays_committed_if_the_task_fails_after_it(desk: Desk) -> None:
    assert names_the_type(desk.run(desk.job(marks_and_raises, False))) == "KeyError"
    assert isinstance(desk.run(desk.job(marks_and_raises, True, task_id="task-2")), Retried)
    assert desk.texts() == ["marked as failed", "marked as failed"]
    assert desk.receipts() == []


@shared_task(bind=True)
def writes_before_its_block(self: Any, fails: bool) -> None:
    write(self, "before")
    with self.pyramid_request.tm:
        write(self, "in the block")
        if fails:
            raise KeyError("no such parcel")


@pytest.mark.parametrize(("fails", "written"), [(False, ["before", "in the block"]), (True, [])])
def test_work_before_the_first_block_belongs_to_that_block(desk: Desk, fails: bool, written: list[str]) -> None:
    desk.run(desk.job(writes_before_its_block, fails))
    assert desk.texts() == written


@shared_task(bind=True)
def nests_blocks(self: Any) -> None:
    with self.pyramid_request.tm, self.pyramid_request.tm:
        pass


def test_a_block_within_a_block_is_an_error_as_everywhere(desk: Desk) -> None:
    assert names_the_type(desk.run(desk.job(nests_blocks))) == AlreadyInTransaction.__name__


@shared_task(bind=True)
def commits_and_fails(self: Any) -> None:
    write(self, "kept")
    self.pyramid_request.tm.commit()
    raise KeyError("no such parcel")


@shared_task(bind=True)
def commits_and_returns(self: Any) -> str:
    write(self, "kept")
    self.pyramid_request.tm.commit()
    with pytest.raises(NoTransaction):
        self.pyramid_request.tm.get()
    return "returned"


def test_a_task_that_has_ended_its_transaction_ends_as_its_function_says(desk: Desk) -> None:
    assert names_the_type(desk.run(desk.job(commits_and_fails))) == "KeyError"
    assert value_of(desk.run(desk.job(commits_and_returns, task_id="task-2"))) == "returned"
    assert desk.texts() == ["kept", "kept"]


@shared_task(bind=True)
def retries_a_block_itself(self: Any) -> int:
    for attempt in self.pyramid_request.tm.attempts(2):
        with attempt:
            write(self, "kept")
    return len(seen["called"])


def test_the_managers_own_attempts_are_blocks(desk: Desk) -> None:
    assert isinstance(desk.run(desk.job(retries_a_block_itself)), Succeeded)
    assert desk.texts() == ["kept"]


# --- the application's own request -----------------------------------------------------------------------


@shared_task(bind=True)
def makes_its_own_request(self: Any) -> str:
    with prepare(registry=self.app.registry) as env:
        request = env["request"]
        seen["managers"].append(type(request.tm).__name__)
        with request.tm:
            request.dbsession.add(Line(text="own"))
            request.dbsession.flush()
            raise KeyError("no such parcel")


def test_a_request_that_the_application_makes_itself_is_left_alone(desk: Desk) -> None:
    Line.metadata.create_all(desk.engine)
    assert names_the_type(desk.run(desk.job(makes_its_own_request))) == "KeyError"
    assert seen["managers"] == ["TransactionManager"]


def test_under_a_thread_local_manager_the_request_keeps_its_manager(tmp_path: Path) -> None:
    desk = Desk(
        f"sqlite:///{tmp_path / 'desk.sqlite'}",
        **{"ptemporal.receipts": "false", "tm.manager_hook": "tests.outbox.desk.threads_own"},
    )
    assert value_of(desk.run(desk.job(one_block, "packed"))) == "packed"
    assert value_of(desk.run(desk.job(tells_its_manager))) == "ThreadTransactionManager"
    desk.close()


@shared_task(bind=True)
def tells_its_manager(self: Any) -> str:
    return type(self.pyramid_request.tm).__name__


# --- errors that another attempt may overcome ------------------------------------------------------------


class Busy(OperationalError):
    """zope.sqlalchemy knows that trying again may help."""

    def __init__(self) -> None:
        from psycopg.errors import SerializationFailure

        super().__init__("UPDATE", {}, SerializationFailure("could not serialize access"))


@shared_task(bind=True)
def busy_in_its_block(self: Any, first: bool) -> int:
    seen["called"].append(1)
    if first:
        with self.pyramid_request.tm:
            write(self, "first")
    with self.pyramid_request.tm:
        write(self, "second")
        if len(seen["called"]) == 1:
            raise Busy
    return len(seen["called"])


@pytest.mark.skipif(
    not any(error.__module__ == "psycopg.errors" for error, _ in datamanager._retryable_errors),
    reason="this zope.sqlalchemy does not know which errors of psycopg 3 are transient",
)
def test_a_transient_error_in_a_block_is_tried_again(desk: Desk) -> None:
    assert value_of(desk.run(desk.job(busy_in_its_block, False))) == 2
    assert desk.texts() == ["second"]


def test_a_task_is_not_tried_again_once_a_block_has_committed(desk: Desk) -> None:
    assert names_the_type(desk.run(desk.job(busy_in_its_block, True))) == "Busy"
    assert desk.texts() == ["first"]


# --- receipts ------------------------------------------------------------------------------------------


def test_the_last_block_commits_together_with_the_receipt(desk_with_receipts: Desk) -> None:
    desk = desk_with_receipts
    job = desk.job(one_block, "once")
    first = desk.run(job)
    assert desk.receipts() == ["task-1"]
    assert desk.run(replace(job, attempt=2)) == first
    assert (seen["called"], desk.texts()) == (["once"], ["once"])


@shared_task(bind=True)
def returns_what_cannot_travel(self: Any) -> object:
    with self.pyramid_request.tm:
        write(self, "gone")
    return object()


def test_with_receipts_a_result_that_cannot_travel_rolls_the_last_block_back(desk_with_receipts: Desk) -> None:
    desk = desk_with_receipts
    assert names_the_type(desk.run(desk.job(returns_what_cannot_travel))) == "NotSerializable"
    assert desk.texts() == desk.receipts() == []


@shared_task(bind=True)
def waits_after_its_block(self: Any) -> str:
    with self.pyramid_request.tm:
        write(self, "once")
    gates["after the block"].pass_through()
    return "done"


def test_with_receipts_a_worker_that_dies_after_the_block_leaves_nothing(desk_with_receipts: Desk) -> None:
    desk = desk_with_receipts
    running = desk.begin(desk.job(waits_after_its_block))
    gates["after the block"].reached()
    assert desk.texts() == []  # what a worker that is killed here leaves
    gates["after the block"].open()
    assert value_of(running.result(20)) == "done"
    assert (desk.texts(), desk.receipts()) == (["once"], ["task-1"])


def test_without_receipts_a_block_commits_at_its_end(tmp_path: Path) -> None:
    desk = Desk(f"sqlite:///{tmp_path / 'desk.sqlite'}", **{"ptemporal.receipts": "false"})
    running = desk.begin(desk.job(waits_after_its_block))
    gates["after the block"].reached()
    assert desk.texts() == ["once"]
    gates["after the block"].open()
    assert value_of(running.result(20)) == "done"
    desk.close()


# --- calls ---------------------------------------------------------------------------------------------


@shared_task(bind=True)
def calls_in_its_blocks(self: Any) -> str:
    manager = self.pyramid_request.tm
    with contextlib.suppress(KeyError), manager:
        note.delay("dropped")
        raise KeyError("no such parcel")
    with manager:
        note.delay("sent with the block")
    return "done"


def test_calls_leave_with_the_block_that_they_were_made_in(shop: Shop) -> None:
    assert calls_in_its_blocks.delay().get(timeout=20) == "done"
    wait_until(lambda: shop.lines() == ["sent with the block"])
