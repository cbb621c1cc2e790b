"""Counts the hand-written activities that run, so that a stopping worker waits for them as it does for tasks."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from .activity import TaskActivity


class NativeActivities(Interceptor):
    """Knows which hand-written activities run. Belongs to the worker's event loop."""

    def __init__(self) -> None:
        self.running: set[tuple[str, str, str]] = set()
        """The workflow, the activity's id and the activity's name of each."""
        self.idle = asyncio.Event()
        """Set while none runs."""
        self.idle.set()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return Counted(next, self)


class Counted(ActivityInboundInterceptor):
    """Counts one hand-written activity while it runs. Tasks are counted where they are taken."""

    def __init__(self, next: ActivityInboundInterceptor, activities: NativeActivities) -> None:
        super().__init__(next)
        self._activities = activities

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if getattr(input.fn, "__func__", None) is TaskActivity.run:
            return await super().execute_activity(input)
        info, counted = activity.info(), self._activities
        this = str(info.workflow_id), info.activity_id, info.activity_type
        counted.running.add(this)
        counted.idle.clear()
        try:
            return await super().execute_activity(input)
        finally:
            counted.running.discard(this)
            if not counted.running:
                counted.idle.set()
