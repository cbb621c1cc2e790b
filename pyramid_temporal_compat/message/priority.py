"""Celery's priorities, turned into the server's priority keys."""

from __future__ import annotations

from temporalio.common import Priority

from .message import Message
from .tree import Tree

PRIORITY_KEYS = 5
"""The server's default number of priority keys; 1 goes first."""
CELERY_PRIORITIES = 10
"""0 to 9, 9 goes first. A higher priority counts as 9."""


def priority_of(message: Message | Tree) -> Priority:
    """Return the server's priority and fairness settings for a message or a tree."""
    key = None
    if message.priority is not None:
        celery = min(max(message.priority, 0), CELERY_PRIORITIES - 1)
        key = PRIORITY_KEYS - celery * PRIORITY_KEYS // CELERY_PRIORITIES
    return Priority(priority_key=key, fairness_key=message.fairness_key, fairness_weight=message.fairness_weight)
