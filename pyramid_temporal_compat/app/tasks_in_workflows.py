"""Makes the call of a task by a hand-written workflow, and reads its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from temporalio import workflow

from ..exceptions import InvalidCall
from ..payload import Payload
from ..security.signed_results import value_for
from ..task.call_options import make_message
from ..worker.workflows.task_call import new_id, run_call

if TYPE_CHECKING:
    from ..interfaces import AppLike
    from ..task.task import Task

OF_A_SENDER = ("link", "link_error", "retry", "retry_policy", "task_id", "transaction_manager")
"""Options of `apply_async` that mean nothing inside a workflow: its own code says what follows a task."""


async def run_in_workflow(
    app: AppLike, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any], task: Task | None
) -> Any:
    """Run a task as an activity of the workflow that calls this, and return the task's result.

    Raises temporalio's `ApplicationError` if the task fails; its `type` is the name of the task's error.
    """
    if not workflow.in_workflow():
        raise InvalidCall(f"task {name!r}: execute() runs a task inside a workflow; everywhere else, call its delay()")
    for option in OF_A_SENDER:
        if option in options:
            raise InvalidCall(f"task {name!r}: {option}= can't be used inside a workflow; it takes the other options")
    if task is not None:
        if task.typing is not False:
            task.check_arguments(args, kwargs)
        options = {**task.own_options(), **options}
    # The workflow waits for the result, so the result travels.
    message = make_message(app, name, args, kwargs, {**options, "ignore_result": False}, task, lambda queue: new_id())
    return _read(app, message.id, await run_call(message))


def _read(app: AppLike, task_id: str, value: Any) -> Any:
    """Return the value of a result, or of the results of a group."""
    if isinstance(value, Payload):
        return value_for(app, task_id, value)
    return [_read(app, task_id, each) for each in value]
