"""How much work a worker takes, over how many calls, and to which version of the application it belongs."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from typing import TYPE_CHECKING, Any

from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import (
    FixedSizeSlotSupplier,
    PollerBehavior,
    PollerBehaviorAutoscaling,
    PollerBehaviorSimpleMaximum,
    ResourceBasedSlotConfig,
    ResourceBasedSlotSupplier,
    ResourceBasedTunerConfig,
    WorkerDeploymentConfig,
    WorkerTuner,
)

from ..exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from ..settings import Settings
    from .slot_supplier import SharedSlots

BEHAVIOURS = {"auto-upgrade": VersioningBehavior.AUTO_UPGRADE, "pinned": VersioningBehavior.PINNED}


def tuner(conf: Settings, tasks: SharedSlots, *, carries_tasks: bool) -> WorkerTuner:
    """Return what limits the work of one queue.

    A task needs a place in the pool. So on a queue that carries tasks, the pool's size is the limit of activities, even
    with `ptemporal.slots = resources`.
    """
    others: FixedSizeSlotSupplier | ResourceBasedSlotSupplier = FixedSizeSlotSupplier(
        conf["ptemporal.max_concurrent_workflows"]
    )
    by_resources = conf["ptemporal.slots"] == "resources"
    if by_resources:
        others = ResourceBasedSlotSupplier(
            ResourceBasedSlotConfig(minimum_slots=2),
            ResourceBasedTunerConfig(conf["ptemporal.slots_memory"], conf["ptemporal.slots_cpu"]),
        )
    return WorkerTuner.create_composite(
        workflow_supplier=others,
        activity_supplier=others if by_resources and not carries_tasks else tasks,
        local_activity_supplier=others,
        nexus_supplier=FixedSizeSlotSupplier(1),
    )


def polling(conf: Settings) -> dict[str, Any]:
    """Return the options of a Temporal worker that say how many calls wait for work."""
    number = conf["ptemporal.pollers"]
    behaviour: PollerBehavior = (
        PollerBehaviorAutoscaling(minimum=2) if number == "auto" else PollerBehaviorSimpleMaximum(number)
    )
    return {"workflow_task_poller_behavior": behaviour, "activity_task_poller_behavior": behaviour}


def deployment(conf: Settings) -> dict[str, Any]:
    """Return the options of a Temporal worker that name its deployment and version; no options without one."""
    name, build = conf["ptemporal.deployment"], conf["ptemporal.build_id"]
    if not name and not build:
        return {}
    if not name or not build:
        given, missing = ("deployment", "build_id") if name else ("build_id", "deployment")
        raise ImproperlyConfigured(
            f"ptemporal.{given} = {name or build} needs ptemporal.{missing} beside it: a worker belongs to "
            "one version, the build id, of one deployment"
        )
    return {
        "deployment_config": WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(deployment_name=name, build_id=build),
            use_worker_versioning=True,
            default_versioning_behavior=BEHAVIOURS[conf["ptemporal.versioning"]],
        )
    }


def code_name(conf: Settings) -> dict[str, Any]:
    """Return the options of a Temporal worker that name the code of a worker without a deployment."""
    # A plugin may name a deployment, and the library refuses both together.
    return {} if conf["ptemporal.plugins"] else {"build_id": code_id()}


@functools.cache
def code_id() -> str:
    """Return a name for the code that this process has loaded, which changes with each deployment of other code.

    The library's own name is the hash of the byte code of all modules: a third of a second of each worker's start. The
    sizes and times of the same files take 7 milliseconds.
    """
    digest = hashlib.md5(usedforsecurity=False)
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__dict__", {}).get("__file__")
        with contextlib.suppress(OSError, ValueError):
            found = os.stat(str(file))
            digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()
