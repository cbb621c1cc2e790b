"""Runs one task as an activity of a hand-written workflow, as the generated workflow would run it."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ChildWorkflowError

from ...exceptions import InvalidCall
from ...message import wire_names as wire
from ...message.message import Message
from ...message.tree import Tree
from ...payload import Payload
from ...payload.converter import from_raw, to_raw
from ...security.signed_results import value_for
from ...task.call_options import make_message
from .node_values import Value, read_values
from .task_run import ActivityReplaced, run_message

if TYPE_CHECKING:
    from ...interfaces import AppLike

OF_A_SENDER = ("link", "link_error", "retry", "retry_policy", "task_id", "transaction_manager")
"""Options of `apply_async` that mean nothing inside a workflow: its own code says what follows a task."""


async def run_task(
    app: AppLike, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any], task: Any = None
) -> Any:
    """Return the task's result. Raises `ApplicationError` if the task fails; its `type` names the task's own error.

    All ids and times are the workflow's, so that a replay makes the same calls.
    """
    if not workflow.in_workflow():
        raise InvalidCall(f"task {name!r}: execute() runs a task inside a workflow; everywhere else, call its delay()")
    for option in OF_A_SENDER:
        if option in options:
            raise InvalidCall(f"task {name!r}: {option}= can't be used inside a workflow; it takes the other options")
    if task is not None:
        options = {**task.own_options(), **options}
    options = {**options, "ignore_result": False, "task_id": str(workflow.uuid4())}
    message = by_the_workflows_clock(make_message(app, name, args, kwargs, options, task))
    if message.eta is not None and (pause := (message.eta - workflow.now()).total_seconds()) > 0:
        await asyncio.sleep(pause)
    try:
        value: Value = await run_message(message, datetime.timedelta(0))
    except ActivityReplaced as replaced:
        value = await run_replacement(message, Tree.decode(replaced.payloads))
    return read(app, message, value)


def by_the_workflows_clock(message: Message) -> Message:
    """Return the message with its `countdown` and `expires` counted from now, as the workflow sees it."""
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
            args=[to_raw(payload) for payload in tree.encode()],
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


def read(app: AppLike, message: Message, value: Value) -> Any:
    """Return the value of a result, or of the results of a group."""
    if isinstance(value, Payload):
        return value_for(app, message.id, value)
    return [read(app, message, each) for each in value]
