"""The package's own workflows, for workers that belong to a Worker Deployment.

Classes of their own, because the server refuses a versioning behaviour from a worker outside of deployments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, VersioningBehavior

from ...message import wire_names as wire
from .schedule_driver import ScheduleDriver
from .task_workflow import TaskWorkflow


@workflow.defn(dynamic=True, sandboxed=False, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class UpgradingTaskWorkflow(TaskWorkflow):
    """Goes on with the deployment's current version, so that no old version has to run until all its tasks end."""

    @workflow.run
    async def run(self, payloads: Sequence[RawValue]) -> Any:
        return await super().run(payloads)


@workflow.defn(name=wire.DRIVER, sandboxed=False, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class UpgradingScheduleDriver(ScheduleDriver):
    """Drives a schedule for years, and so through many versions."""

    @workflow.run
    async def run(self, application: str, entry: str, last_run_at: str | None = None) -> None:
        await super().run(application, entry, last_run_at)


UPGRADING: list[type] = [UpgradingTaskWorkflow, UpgradingScheduleDriver]
