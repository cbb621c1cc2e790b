"""Runs one task as an activity of a hand-written workflow, as the generated workflow would run it."""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import replace

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ChildWorkflowError

from ...message import wire_names as wire
from ...message.message import Message
from ...message.tree import Tree
from ...payload.converter import from_raw
from ...payload.headers import to_arguments
from .node_values import Value, read_values
from .task_run import ActivityReplaced, run_message


def new_id() -> str:
    """Return a new id for a task. A replay returns the same one."""
    return str(workflow.uuid4())


async def run_call(message: Message) -> Value:
    """Return the result of a task: a payload, or a list of results if a group takes the task's place.

    Raises `ApplicationError` if the task fails.
    """
    message = by_the_workflows_clock(message)
    if message.eta is not None and (pause := (message.eta - workflow.now()).total_seconds()) > 0:
        await asyncio.sleep(pause)
    try:
        return await run_message(message, datetime.timedelta(0))
    except ActivityReplaced as replaced:
        return await run_replacement(message, Tree.decode(replaced.payloads))


def by_the_workflows_clock(message: Message) -> Message:
    """Return the message with its `countdown` and `expires` counted from the workflow's own time.

    A replay runs later, and must come to the same times.
    """
    now = workflow.now()
    if message.countdown is not None:
        message = message.copy(eta=now + datetime.timedelta(seconds=message.countdown), countdown=None)
    if message.expires_in is not None:
        message = message.copy(expires=now + datetime.timedelta(seconds=message.expires_in), expires_in=None)
    return message


async def run_replacement(message: Message, tree: Tree) -> Value:
    """Run the canvas that takes the task's place, in a child workflow on the task's queue."""
    tree = replace(tree, keeps=True)
    try:
        found: RawValue = await workflow.execute_child_workflow(
            tree.task,
            args=to_arguments(tree.encode()),
            id=message.id,
            task_queue=message.queue,
            result_type=RawValue,
            memo=wire.memo_of(tree),
            static_summary=tree.summary[: wire.SUMMARY_LIMIT],
        )
    except ChildWorkflowError as error:
        raise error.cause or error from error
    result = from_raw(found)
    return read_values(result) if wire.VALUES in result.metadata else result
