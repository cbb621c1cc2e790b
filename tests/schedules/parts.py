"""Helpers of the tests of schedules."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from temporalio.api.workflowservice.v1 import DescribeScheduleRequest, UpdateScheduleRequest

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.schedules.declaration import declarations
from pyramid_temporal_compat.schedules.sync import compare, synchronise_app
from tests.parts import wait_until


def synchronise(app: Celery, *, prune: bool = True, change: bool = True, look_at_each: bool = False) -> Any:
    return synchronise_app(app, prune=prune, change=change, look_at_each=look_at_each)


def kinds(plan: Any) -> dict[str, str]:
    """Return what a plan does with each entry."""
    return {change.entry: change.kind for change in plan.changes}


def on_server(app: Celery, entry: str) -> Any:
    """Return the server's description of an entry's Schedule."""

    async def ask(client: Any) -> Any:
        return await client.get_schedule_handle(f"{app.main}/{entry}").describe()

    return app.temporal.call(ask, 20)


def firings(app: Celery, entry: str, least: int = 1) -> list[str]:
    """Return the ids of the tasks that an entry has started, once there are `least` of them."""

    def found() -> list[str]:
        recent = [each.action.workflow_id for each in on_server(app, entry).info.recent_actions]
        return recent if len(recent) >= least else []

    return wait_until(found, 60, f"{entry} has fired")


def trigger(app: Celery, entry: str) -> str:
    """Fire an entry now. Return the id of the task."""

    async def ask(client: Any) -> Any:
        await client.get_schedule_handle(f"{app.main}/{entry}").trigger()

    before = len(on_server(app, entry).info.recent_actions)
    app.temporal.call(ask, 20)
    return firings(app, entry, before + 1)[-1]


def rewrite(app: Celery, entry: str, edit: Callable[[Any], Any]) -> None:
    """Change an entry's Schedule on the server, as somebody does in the web UI."""

    async def change(client: Any) -> None:
        where = {"namespace": client.namespace, "schedule_id": f"{app.main}/{entry}"}
        held = await client.workflow_service.describe_schedule(DescribeScheduleRequest(**where))
        edit(held)
        request = UpdateScheduleRequest(**where, schedule=held.schedule, request_id=str(uuid.uuid4()))
        await client.workflow_service.update_schedule(request)

    app.temporal.call(change, 20)


def calls_of(app: Celery, *, look_at_each: bool) -> int:
    """Return how many calls to the server a comparison makes."""
    count = 0

    async def ask(client: Any) -> None:
        nonlocal count
        service = client.service_client
        call = service._rpc_call

        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            return await call(*args, **kwargs)

        service._rpc_call = counted
        try:
            await compare(client, str(app.main), declarations(app), look_at_each=look_at_each)
        finally:
            del service._rpc_call

    app.temporal.call(ask, 60)
    return count
