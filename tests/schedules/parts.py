"""Helpers of the tests of schedules."""

from __future__ import annotations

from typing import Any

from pyramid_temporal_compat import Celery
from pyramid_temporal_compat.cli.beat import run_once
from tests.parts import wait_until


def synchronise(app: Celery, *, prune: bool = True, change: bool = True) -> Any:
    return run_once(app, prune=prune, change=change)


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

    return wait_until(found, 30, f"{entry} has fired")


def trigger(app: Celery, entry: str) -> str:
    """Fire an entry now. Return the id of the task."""

    async def ask(client: Any) -> Any:
        await client.get_schedule_handle(f"{app.main}/{entry}").trigger()

    before = len(on_server(app, entry).info.recent_actions)
    app.temporal.call(ask, 20)
    return firings(app, entry, before + 1)[-1]
