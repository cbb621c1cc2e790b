"""Counts the hand-written activities that run, so that a stopping worker waits for them as it does for tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor


class NativeActivities(Interceptor):
    """Knows which hand-written activities run. Belongs to the worker's event loop."""

    def __init__(self, names: Collection[str]) -> None:
        """
        :param names: the names of the hand-written activities. All others are the package's own.
        """
        self.names = names
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
        info, counted = activity.info(), self._activities
        if info.activity_type not in counted.names:
            return await super().execute_activity(input)
        this = str(info.workflow_id), info.activity_id, info.activity_type
        counted.running.add(this)
        counted.idle.clear()
        try:
            return await super().execute_activity(input)
        finally:
            counted.running.discard(this)
            if not counted.running:
                counted.idle.set()
