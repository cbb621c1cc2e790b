"""The message of a periodic task: the template that the server's Schedule holds, and what one firing makes of it.

The message of a periodic task is encoded once, when the schedules are synchronised. Its ids are placeholders that begin
with the template's own id. Each firing is a workflow with an id of its own: the template's id and the firing time. The
workflow puts its own id in the place of the template's, and counts `expires` and `countdown` from its start.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import replace

from .ids import prefix_of
from .message import Message
from .nodes import ChordNode, Node, TaskNode
from .trace_headers import without_trace
from .tree import Tree, Unit

FIRED_AT = re.compile(r"-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
PROPERTY = "periodic_task_name"
"""The message property in which Celery's extensions look for the entry's name."""
HEADER = "celery_beat_task"
"""The header with which Celery's beat marks the tasks that it sends."""


def as_template(unit: Unit, entry: str) -> Unit:
    """Return what a Schedule holds for an entry: without anything that depends on the time or place of the sync."""

    def timeless(message: Message) -> Message:
        return message.copy(
            eta=None if message.countdown is not None else message.eta,
            expires=None if message.expires_in is not None else message.expires,
            sent=None,
            origin=None,
            publish_retry=None,
            scheduled=entry,
            headers={**without_trace(message.headers), HEADER: True},
            properties={**message.properties, PROPERTY: entry},
        )

    return _with_messages(unit, timeless, lambda found: found)


def is_template(unit: Unit, workflow_id: str) -> bool:
    """Return whether the workflow was started by a Schedule, so that its message still has the template's ids."""
    return unit.id != workflow_id and any(message.scheduled is not None for message in unit.messages)


def is_firing_of(task_id: str, template_id: str) -> bool:
    """Return whether a task is a firing of the template: its id is the template's with the time of the firing."""
    return task_id.startswith(template_id) and FIRED_AT.fullmatch(task_id[len(template_id) :]) is not None


def fired(unit: Unit, workflow_id: str, at: datetime.datetime) -> Unit:
    """Return the message or tree of one firing. A unit that is no template stays as it is.

    :param at: when the workflow was started, by the server's clock.
    """
    if not is_template(unit, workflow_id):
        return unit
    template, below = unit.id, prefix_of(unit.id)

    def renamed(found: str) -> str:
        return workflow_id + found[len(template) :] if found == template or found.startswith(below) else found

    def or_none(found: str | None) -> str | None:
        return None if found is None else renamed(found)

    def timed(message: Message) -> Message:
        return message.copy(
            id=renamed(message.id),
            root_id=or_none(message.root_id),
            parent_id=or_none(message.parent_id),
            group=or_none(message.group),
            chord=or_none(message.chord),
            eta=_after(at, message.countdown) or message.eta,
            expires=_after(at, message.expires_in) or message.expires,
        )

    return _with_messages(unit, timed, renamed)


def _after(at: datetime.datetime, seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else at + datetime.timedelta(seconds=seconds)


def _with_messages(unit: Unit, change: Callable[[Message], Message], rename: Callable[[str], str]) -> Unit:
    if isinstance(unit, Tree):
        return replace(unit, root=_with_node(unit.root, change, rename))
    return change(unit)


def _with_node(node: Node, change: Callable[[Message], Message], rename: Callable[[str], str]) -> Node:
    node = node.with_parts(lambda part: _with_node(part, change, rename))
    if isinstance(node, TaskNode):
        return replace(node, message=change(node.message))
    if isinstance(node, ChordNode):
        subjects = tuple(map(rename, node.errback_subjects))
        return replace(node, id=rename(node.id), group_id=rename(node.group_id), errback_subjects=subjects)
    return replace(node, id=rename(node.id))
