"""What a transaction sends: messages and canvases, calls of hand-written workflows, and calls of Celery's tasks."""

from __future__ import annotations

from collections.abc import Sequence

from .celery_call import CeleryCall
from .tree import Tree, Unit
from .workflow_call import WorkflowCall

Outgoing = Unit | WorkflowCall | CeleryCall
"""What a transaction sends, one after the other."""


def parts_to_log(outgoing: Outgoing) -> tuple[Outgoing, ...]:
    """Return what gets a log line of its own if it is lost: each message of a bundle; a canvas or a call as a whole."""
    return outgoing.messages if isinstance(outgoing, Tree) and outgoing.bundle else (outgoing,)


def count_of(outgoing: Sequence[Outgoing]) -> int:
    """Return how many messages and calls these are."""
    return sum(len(each.messages) or 1 for each in outgoing)


def workflow_id_of(outgoing: Outgoing) -> str:
    """Return the id of the workflow that this starts or signals. Calls of one workflow are sent one after the other."""
    return outgoing.workflow_id if isinstance(outgoing, WorkflowCall) else outgoing.id
