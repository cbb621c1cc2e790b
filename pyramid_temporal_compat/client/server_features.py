"""Which of the features that this package uses the server has, as the server itself says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetClusterInfoRequest,
    GetSystemInfoRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

TESTED = "1.32"
"""The release of the server that the tests run against."""
LOWEST = (1, 28)
"""The first release with priorities of tasks and with Worker Deployments. Older servers silently ignore both."""


class Answers(NamedTuple):
    """What the server says of itself and of the namespace."""

    version: str
    system: Any
    namespace: Any


@dataclass(frozen=True)
class Feature:
    """A feature of the server that this package uses."""

    name: str
    since: str
    """The first release of the server that has it."""
    is_there: Callable[[Answers], bool]
    without: str
    """What happens without it."""


def at_least(*wanted: int) -> Callable[[Answers], bool]:
    """Return the question whether the server's release is at least this one."""
    return lambda answers: numbers(answers.version) >= wanted


def numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version. Temporal Cloud hides its own, which counts as the highest."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (9999,)


FEATURES = (
    Feature("schedules", "1.20", lambda found: found.system.supports_schedules, "no periodic tasks"),
    Feature("priorities of tasks", "1.28", at_least(1, 28), "tasks run in the order in which they came"),
    Feature("worker deployments", "1.28", at_least(1, 28), "ptemporal.deployment can't be used"),
    Feature("fairness keys", "1.29", at_least(1, 29), "fairness_key and fairness_weight change nothing"),
    Feature(
        "a list of workers",
        "1.29.1",
        lambda found: found.namespace.worker_heartbeats,
        "`temporal worker list` and the web UI's page of workers are empty; our own lists of workers are complete",
    ),
    Feature(
        "eager start of workflows",
        "1.29",
        lambda found: found.namespace.eager_workflow_start,
        "a little more time for each call, and nothing else",
    ),
    Feature(
        "standalone activities",
        "1.32",
        lambda found: found.namespace.standalone_activities,
        'lane="activity" runs its tasks as workflows',
    ),
)


class ServerReport(NamedTuple):
    """The server's release, and the features with their presence."""

    version: str
    features: list[tuple[Feature, bool]]

    @property
    def is_too_old(self) -> bool:
        return numbers(self.version) < LOWEST


async def server_features(client: Client) -> ServerReport:
    """Ask the server for its release and for what it can do. A server that hides its release gives an empty one."""
    service = client.workflow_service
    system = await service.get_system_info(GetSystemInfoRequest())
    found = await service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace))
    try:
        version = (await service.get_cluster_info(GetClusterInfoRequest())).server_version
    except RPCError:  # Temporal Cloud does not answer this
        version = system.server_version
    answers = Answers(version, system.capabilities, found.namespace_info.capabilities)
    return ServerReport(version, [(feature, feature.is_there(answers)) for feature in FEATURES])
