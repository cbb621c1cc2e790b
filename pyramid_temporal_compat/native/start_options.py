"""The options of `start_workflow`: the options of temporalio's client that can wait for a commit."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from temporalio.common import (
    Priority,
    RetryPolicy,
    TypedSearchAttributes,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from typing_extensions import TypedDict

from ..exceptions import InvalidCall


class StartOptions(TypedDict, total=False):
    """Keyword arguments of `start_workflow`. They mean what they mean for temporalio's client."""

    id: str
    """The workflow's id. Without it, the workflow gets a new one."""
    task_queue: str
    """The queue whose workers run the workflow. Without it: the queue with which the application added the workflow.

    If the application names no queue for it: the application's default queue.
    """
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | None
    static_summary: str | None
    static_details: str | None
    start_delay: timedelta | None
    """How long the server waits before it starts the workflow, counted from the call."""
    start_signal: str | None
    start_signal_args: Sequence[Any]
    priority: Priority
    versioning_override: VersioningOverride | None


OF_A_CALL = {
    "rpc_timeout": "ptemporal.dispatch_timeout says how long the server may take",
    "rpc_metadata": "ptemporal.config_file can name metadata for all calls",
    "request_eager_start": "it needs a worker in this process",
    "result_type": "it is a parameter of its own, for a workflow that is given by its name",
}
"""Options of temporalio's client that belong to one call to the server, and what to use instead."""


def refuse_unknown(workflow: str, options: Mapping[str, Any]) -> None:
    """Raise `InvalidCall` for an option that `start_workflow` does not take."""
    known = StartOptions.__annotations__
    for option in options:
        if option in known:
            continue
        near = difflib.get_close_matches(option, known, 1)
        hint = OF_A_CALL.get(option) or (
            f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(sorted(known))}"
        )
        raise InvalidCall(f"workflow {workflow!r}: start_workflow() has no option {option!r}; {hint}")
