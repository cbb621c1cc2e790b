"""The generated workflow, for workers that belong to a Worker Deployment.

A class of its own, because the server refuses a versioning behaviour from a worker outside of deployments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, VersioningBehavior

from .task_workflow import TaskWorkflow


@workflow.defn(dynamic=True, sandboxed=False, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class UpgradingTaskWorkflow(TaskWorkflow):
    """Goes on with the deployment's current version, so that no old version has to run until all its tasks end."""

    @workflow.run
    async def run(self, payloads: Sequence[RawValue]) -> Any:
        return await super().run(payloads)
