"""Abortable tasks: they ask whether they should stop."""

from __future__ import annotations

from typing import Any

from pyramid_temporal_compat import shared_task
from pyramid_temporal_compat.as_celery.abortable import AbortableAsyncResult, AbortableTask
from tests.parts import wait_until
from tests.worker.shop import Shop, gates

PATIENCE = 30


@shared_task(base=AbortableTask, bind=True)
def counts(self: Any) -> str:
    gates["counts"].pass_through()
    return "aborted" if self.is_aborted() else "counted"


def test_an_aborted_task_learns_of_it_and_ends_as_it_likes(shop: Shop) -> None:
    result = counts.delay()
    assert isinstance(result, AbortableAsyncResult)
    gates["counts"].reached()
    assert not result.is_aborted()
    result.abort()
    wait_until(result.is_aborted)
    gates["counts"].open()
    assert result.get(timeout=PATIENCE) == "aborted"
    assert result.state == "SUCCESS"


def test_a_task_that_was_not_aborted_goes_on(shop: Shop) -> None:
    result = counts.delay()
    gates["counts"].open()
    assert result.get(timeout=PATIENCE) == "counted"
