"""Where workers are found, and where each of them is reached.

Temporal has no broadcast. So every worker polls one task queue that all share, the directory, on which nothing is
ever sent: the server lists who polls it. And every worker polls a queue of its own, its mailbox, on which requests
arrive as activities.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

DIRECTORY = "ptemporal-workers"
COMMAND = "ptemporal.control"
"""The type of the activity that answers a request, and of the workflow that carries it on older servers."""


@dataclass(frozen=True)
class Address:
    """A worker, as the directory lists it."""

    node: str
    """Celery's node name, such as `w1@host`."""
    instance: str
    """Which of the processes that ever had this name: a request never reaches its successor."""

    @classmethod
    def new(cls, node: str) -> Address:
        return cls(node, uuid.uuid4().hex[:12])

    @classmethod
    def read(cls, identity: str) -> Address:
        node, _, instance = identity.rpartition("#")
        return cls(node, instance)

    def __str__(self) -> str:
        return f"{self.node}#{self.instance}"

    @property
    def mailbox(self) -> str:
        return f"ptemporal-control.{self}"
