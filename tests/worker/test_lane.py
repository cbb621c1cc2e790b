"""Single tasks that run as standalone activities: the lane `activity`."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.client import ActivityExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from pyramid_temporal_compat import chain, current_task, shared_task, states
from pyramid_temporal_compat.exceptions import TaskRevokedError
from tests.parts import fresh_database, wait_until
from tests.worker.shop import Shop, WorkerThread, gates, seen, write

PATIENCE = 20


@pytest.fixture(scope="module")
def running_shop(temporal_address: str, postgres: str) -> Iterator[Shop]:
    with fresh_database(postgres) as url:
        shop = Shop(temporal_address, url, **{"ptemporal.heartbeat_timeout": "2", "ptemporal.lane": "activity"})
        with WorkerThread(shop.app, shop.queue, concurrency=8):
            assert shop.app.lane_choice.is_open(PATIENCE)
            yield shop
        shop.close()


def activity_of(shop: Shop, task_id: str) -> ActivityExecutionDescription | None:
    return found(shop, lambda client: client.get_activity_handle(task_id).describe())


def workflow_of(shop: Shop, task_id: str) -> Any:
    return found(shop, lambda client: client.get_workflow_handle(task_id).describe())


def found(shop: Shop, ask: Any) -> Any:
    async def work(client: Any) -> Any:
        try:
            return await ask(client)
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND
            return None

    return shop.app.temporal.call(work)


def read_elsewhere(shop: Shop, task_id: str) -> Any:
    """Return the result as a process sees it that did not send the task."""
    from pyramid_temporal_compat.client import standalone

    for support in standalone._support.values():
        support.lately.pop(task_id, None)
    return shop.app.AsyncResult(task_id)


@shared_task
def add(x: int, y: int) -> int:
    write(f"{x} + {y}")
    return x + y


def test_a_single_task_is_an_activity_without_a_workflow(shop: Shop) -> None:
    result = add.delay(2, 3)
    assert result.get(timeout=PATIENCE) == 5
    assert shop.lines() == ["2 + 3"]
    activity = activity_of(shop, result.id)
    assert activity is not None and activity.activity_type == add.name
    assert workflow_of(shop, result.id) is None
    elsewhere = read_elsewhere(shop, result.id)
    assert (elsewhere.state, elsewhere.result, elsewhere.get(timeout=PATIENCE)) == (states.SUCCESS, 5, 5)
    assert (elsewhere.name, elsewhere.queue, elsewhere.args) == (add.name, shop.queue, [2, 3])
    assert elsewhere.worker and elsewhere.date_done
