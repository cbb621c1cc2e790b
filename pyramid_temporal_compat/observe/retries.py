"""Run ended tasks anew: under a new id that names the old one, so that no task runs anew twice by accident."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from temporalio.client import Client

from ..client.for_each import for_each
from ..client.history import ActivityScheduled, WorkflowStarted, read_history
from ..client.members import workflow_with
from ..client.task_history import read_task_history
from ..client.task_status import status_of
from ..control.waiting_tasks import exists
from ..enlist.dispatcher import start_task
from ..exceptions import CeleryError
from ..message.ids import retry_id, workflow_of
from ..message.lane import WORKFLOW
from ..message.message import Message
from ..message.nodes import TaskNode
from ..message.tree import Tree, Unit
from ..payload import Payload
from ..payload.serializers import SIGNED

if TYPE_CHECKING:
    from ..client.status import Status

RETRY_OF = "retry_of"
"""The header of a task that was run anew: the id of the task whose message it has."""
AT_ONCE = 8
"""Tasks that are read and started at a time, without a rate."""


class NotRetried(CeleryError):
    """A task that can't be run anew as it was."""


@dataclass(frozen=True)
class Retried:
    """What became of the wish to run a task anew."""

    id: str
    new_id: str | None
    """The id of the new run; None if there is none."""
    why_not: str = ""
    """Why the task was not run anew now. `new_id` then names an earlier run, if there is one."""


async def retry(client: Client, task_id: str) -> Retried:
    """Run a task anew that has ended, with the arguments that it had at first."""
    new_id = retry_id(task_id)
    if await exists(client, new_id):
        return Retried(task_id, new_id, "it was run anew before")
    try:
        unit = await _again(client, task_id, new_id)
    except NotRetried as error:
        return Retried(task_id, None, str(error))
    await start_task(client, unit, datetime.datetime.now(datetime.timezone.utc))
    return Retried(task_id, new_id)


async def not_retried(client: Client, ids: Sequence[str]) -> list[str]:
    """Return the ids of those tasks that nobody has run anew yet."""
    known = await for_each(ids, lambda task_id: exists(client, retry_id(task_id)))
    return [task_id for task_id, is_known in zip(ids, known, strict=True) if not is_known]


async def retry_each(client: Client, ids: Iterable[str], interval: float = 0.0) -> AsyncIterator[Retried]:
    """Run tasks anew, and yield what became of each.

    :param interval: seconds between two starts. With 0, `AT_ONCE` tasks start at a time.
    """
    waiting = list(ids)
    at_once = 1 if interval else AT_ONCE
    clock = asyncio.get_running_loop()
    due = clock.time()
    for place in range(0, len(waiting), at_once):
        await asyncio.sleep(max(0.0, due - clock.time()))
        due = max(due, clock.time()) + interval
        for outcome in await asyncio.gather(*(retry(client, each) for each in waiting[place : place + at_once])):
            yield outcome


async def _again(client: Client, task_id: str, new_id: str) -> Unit:
    """Return what to start. Raises `NotRetried`."""
    status: Status = await status_of(client, task_id)
    if not status.known:
        raise NotRetried("the server does not have it")
    if not status.ended:
        raise NotRetried(f"it has not ended: its state is {status.state}")
    sent = await _first_call(client, task_id)
    if sent is None:
        raise NotRetried(
            "it never began, because an earlier task of its canvas failed"
            if workflow_of(task_id)
            else "it has members, and its last one never began: retry the members that failed"
        )
    message, before = sent
    if message.serializer == SIGNED:
        raise NotRetried("its signature names its id: call the task again in the application")
    again = message.copy(
        id=new_id,
        root_id=new_id,
        headers={**message.headers, RETRY_OF: task_id},
        joins=None,
        **dict.fromkeys(OF_THE_FIRST_CALL),
        retries=0,
        held=False,
        lane=WORKFLOW,  # only workflows refuse a second start under the same id
    )
    if message.joins is None:
        return again
    # The results of earlier tasks stand in front of the arguments, as they did the first time.
    return Tree(TaskNode(again), before=message.joins, payloads=before)


OF_THE_FIRST_CALL = (
    *("eta", "countdown", "expires", "expires_in", "sent", "scheduled"),
    *("parent_id", "group", "group_index", "chord", "follows", "linked"),
)
"""The parts of a message that say when the first call was to run, and its place in a canvas. The new run has none."""


async def _first_call(client: Client, task_id: str) -> tuple[Message, tuple[Payload, ...]] | None:
    """Return the message of a task as it was before its retries, and the payloads that follow its body.

    None for a bundle, and for a member of a canvas that never began. A canvas has the id of its last member.
    """
    container = await workflow_with(client, task_id)
    if container is None and not await exists(client, task_id):
        history = await read_task_history(client, task_id)  # a standalone activity has the message it was sent with
        return None if history is None else (history.message, ())
    start: Message | None = None
    is_canvas = False
    async for event in read_history(client, container or task_id):
        if isinstance(event, WorkflowStarted):
            unit = await event.unit()
            is_canvas = isinstance(unit, Tree)
            if isinstance(unit, Message):
                start = unit
            elif unit is not None and (unit.bundle or isinstance(unit.root, TaskNode)):
                start = next((each for each in unit.messages if each.id == task_id), None)
        elif isinstance(event, ActivityScheduled):
            call = await event.call_of(task_id if is_canvas else None)
            if call is not None:
                message, before = call
                return message.copy(queue=message.queue or event.queue), before
    return None if start is None else (start, ())
