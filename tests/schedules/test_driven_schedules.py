"""Schedules whose times only their class knows: a driver asks the class and fires them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.schedules import BaseSchedule, crontab, schedule
from pyramid_temporal_compat.schedules.celery_schedules import schedstate
from pyramid_temporal_compat.schedules.drivers import driver_id
from tests.parts import wait_until
from tests.schedules.parts import firings, kinds, on_server, synchronise
from tests.worker.shop import WorkerThread


class EveryNow(BaseSchedule):
    """Due `every` seconds after the last run, and asked again soon. Counts how often it was asked."""

    def __init__(self, every: float = 1, **more: Any) -> None:
        super().__init__(**more)
        self.every, self.asked, self.fails = every, 0, 0

    def is_due(self, last_run_at: dt.datetime) -> tuple[bool, float]:
        self.asked += 1
        if self.fails:
            self.fails -= 1
            raise LookupError("no moon today")
        left = self.every - (self.now() - last_run_at).total_seconds()
        return (True, self.every) if left <= 0 else (False, left)


def entry(schedule: Any, **more: Any) -> dict[str, Any]:
    return {"task": "add", "schedule": schedule, "args": (1, 2), **more}


def driver_status(app: Celery, name: str) -> WorkflowExecutionStatus | None:
    async def ask(client: Any) -> Any:
        return (await client.get_workflow_handle(driver_id(f"{app.main}/{name}")).describe()).status

    return app.temporal.call(ask, 20)


def test_a_class_with_times_of_its_own_fires_tasks_again_and_again(app: Celery, worker: WorkerThread) -> None:
    app.conf.beat_schedule = {"moon": entry(EveryNow(1))}
    assert kinds(synchronise(app)) == {"moon": "create"}
    ids = firings(app, "moon", least=3)
    assert len(set(ids)) == len(ids)
    assert app.AsyncResult(ids[0]).get(timeout=20) == 3
    assert kinds(synchronise(app)) == {"moon": "unchanged"}
