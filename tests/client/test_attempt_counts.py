"""What the next attempt of a task knows of the attempts before it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure, ServerFailureInfo, TimeoutFailureInfo
from temporalio.converter import DataConverter

from pyramid_temporal_compat.client.attempt_counts import AttemptCounts, LastEnd, counts_before, counts_in
from pyramid_temporal_compat.message import wire_names as wire

NOTHING = AttemptCounts()
A_RETRY_WITHOUT_COUNTS, LOST, UNREADABLE = LastEnd(is_retry=True), LastEnd(is_lost=True), LastEnd()


@pytest.mark.parametrize(
    ("attempt", "heartbeat", "last", "retries", "lost"),
    [
        (1, NOTHING, LastEnd(), 0, 0),
        (1, AttemptCounts(retries=4), LastEnd(), 4, 0),  # an earlier activity was retried
        (3, AttemptCounts(2, 2, 2), LastEnd(), 2, 0),  # the heartbeat at the end of attempt 2
        (3, NOTHING, LastEnd(AttemptCounts(2, 2, 2), is_retry=True), 2, 0),
        (4, AttemptCounts(1, 1, 2), LastEnd(AttemptCounts(2, 2, 3), is_retry=True), 2, 1),
        (2, NOTHING, LOST, 0, 1),
        (4, NOTHING, LOST, 2, 1),  # two retries, which wrote no heartbeat, and a lost worker
        (4, AttemptCounts(1, 1, 2), LOST, 1, 2),  # a retry and two lost workers
        (6, AttemptCounts(1, 1, 2), LOST, 3, 2),  # two more retries before the second loss
        (4, NOTHING, A_RETRY_WITHOUT_COUNTS, 3, 0),
        (9, NOTHING, UNREADABLE, 0, 1),  # eight attempts on workers without the key
        (1, AttemptCounts(2, 2, 3), LastEnd(), 2, 1),  # an operator has reset the activity
    ],
)
def test_retries_and_lost_workers_are_counted(
    attempt: int, heartbeat: AttemptCounts, last: LastEnd, retries: int, lost: int
) -> None:
    counts = counts_before(attempt, heartbeat, last)
    assert (counts.retries, counts.attempts) == (retries, attempt - 1)
    assert counts.lost == min(lost, attempt - 1)


def test_counts_come_back_as_they_were_written() -> None:
    counts = AttemptCounts(3, 2, 4)
    assert counts_in(counts.written()) == counts


@pytest.mark.parametrize("written", [None, "x", [], {wire.RETRIES: -1}, {wire.ORDERLY: 2, wire.COUNTED: "2"}])
def test_anything_else_counts_nothing(written: object) -> None:
    assert counts_in(written) == NOTHING


def worker_failure(kind: str, *details: bytes) -> Failure:
    payloads = [Payload(metadata={"encoding": b"json/plain"}, data=each) for each in details]
    return Failure(application_failure_info=ApplicationFailureInfo(type=kind, details=Payloads(payloads=payloads)))


WRITTEN = AttemptCounts(2, 2, 2)
CONVERTER = SimpleNamespace(data_converter=DataConverter.default)


@pytest.mark.parametrize(
    ("failure", "end"),
    [
        (Failure(timeout_failure_info=TimeoutFailureInfo()), LOST),
        (worker_failure(wire.WORKER_LOST), LOST),
        (worker_failure("NotFoundError"), UNREADABLE),
        (worker_failure(wire.RETRY, b"{}", json.dumps(WRITTEN.written()).encode()), LastEnd(WRITTEN, is_retry=True)),
        (worker_failure(wire.RETRY, b"{}", b"[]"), A_RETRY_WITHOUT_COUNTS),
        (worker_failure(wire.RETRY, b"{}", b"{no JSON"), A_RETRY_WITHOUT_COUNTS),
        (Failure(server_failure_info=ServerFailureInfo(), cause=worker_failure(wire.RETRY)), A_RETRY_WITHOUT_COUNTS),
    ],
)
def test_a_failure_says_how_the_last_attempt_ended(failure: Failure, end: LastEnd) -> None:
    assert asyncio.run(LastEnd.read(CONVERTER, failure)) == end  # type: ignore[arg-type]
