"""The addresses of workers: the directory that lists them, and the mailbox of each.

Temporal has no broadcast. So all workers poll one shared task queue, the directory. Nothing is ever sent to the
directory, but the server lists the pollers of a queue, and so it lists the workers. Each worker also polls a queue of
its own, its mailbox. A request to the worker arrives there, as an activity.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

DIRECTORY = "ptemporal-workers"
MAILBOX = "ptemporal-control."
"""What the name of each mailbox begins with."""
COMMAND = "ptemporal.control"
"""The type of the activity that answers a request. On older servers, also the type of the workflow around it."""


@dataclass(frozen=True)
class Address:
    """A worker, as the directory lists it."""

    node: str
    """Celery's node name, such as `w1@host`."""
    instance: str
    """Random part. A later worker of the same name has another, so it never gets this worker's requests."""

    @classmethod
    def new(cls, node: str) -> Address:
        """Return an address for a worker process that starts."""
        return cls(node, uuid.uuid4().hex[:12])

    @classmethod
    def read(cls, identity: str) -> Address:
        """Return the address of a poller, from the identity with which it polls the directory."""
        node, _, instance = identity.rpartition("#")
        return cls(node, instance)

    def __str__(self) -> str:
        return f"{self.node}#{self.instance}"

    @property
    def mailbox(self) -> str:
        """Name of the task queue on which requests to this worker arrive."""
        return f"{MAILBOX}{self}"


def is_control_queue(queue: str) -> bool:
    """Return whether workers use this task queue for control calls. A worker that took tasks there would take the
    requests to other workers."""
    return queue == DIRECTORY or queue.startswith(MAILBOX)
