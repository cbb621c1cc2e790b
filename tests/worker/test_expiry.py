"""Expiry: the server's clock says whether a task has expired."""

from __future__ import annotations

import datetime
import time

import pytest

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.exceptions import TaskRevokedError
from pyramid_temporal_compat.message.message import Message
from pyramid_temporal_compat.worker.steps.admission import has_expired
from tests.parts import wait_until
from tests.worker.shop import Shop, WorkerThread, write

HOURS = datetime.timedelta(hours=2)
MINUTE = datetime.timedelta(minutes=1)


@pytest.mark.parametrize("skew", [-HOURS, datetime.timedelta(0), HOURS])
def test_a_wrong_clock_of_the_sender_does_not_change_how_long_a_task_may_wait(
    skew: datetime.timedelta,
) -> None:
    called = datetime.datetime.now(datetime.timezone.utc)
    expires = called + skew + MINUTE  # by the sender's clock
    message = Message("t", "1", (), "q", expires=expires, ahead=-skew.total_seconds())
    assert not has_expired(message, expires, called + MINUTE / 2)
    assert has_expired(message, expires, called + MINUTE * 2)


@shared_task
def leaves_a_line() -> None:
    write("ran")


def test_a_task_expires_while_there_is_no_worker(shop: Shop) -> None:
    queue = f"{shop.queue}-late"
    result = leaves_a_line.apply_async(expires=0.3, queue=queue)
    wait_until(lambda: result.state == "PENDING")
    deadline = time.monotonic() + 0.5
    wait_until(lambda: time.monotonic() > deadline)
    with WorkerThread(shop.app, queue), pytest.raises(TaskRevokedError):
        result.get(timeout=20)
    assert shop.lines() == []
