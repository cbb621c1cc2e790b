"""The generated workflow: one class is the workflow of every task.

Its type is the task's name, its id is the task's id, and it runs one activity. The class is dynamic, so a worker that
does not know a task can still carry its workflow. Arguments and results pass through as raw payloads, so the workflow
neither decodes nor runs anything that belongs to the application.

Temporal replays this code against the history of a running workflow. `tests/histories` holds a recorded history of
each kind. Until the first release, a change that alters the commands records these anew
(`python -m tests.histories.record`). After the first release, it needs `workflow.patched`, because workflows that
are under way during an upgrade must go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from ...exceptions import InvalidTaskError, SecurityError
from ...log_lines.library_log import hide_errors, shorten_lines
from ...log_lines.text_safety import one_line
from ...log_lines.throttled_log import ThrottledLog
from ...message import wire_names as wire
from ...message.message import Message, NewerMessage, is_name
from ...message.scheduled import fired, is_template
from ...message.slices import SliceReport
from ...message.tree import Tree, Unit, read_unit
from ...payload.converter import from_raw, to_raw
from ...payload.headers import header_in
from .node_values import failed_beforehand, written
from .plain_call import UnknownWorkflow, plain_call
from .task_run import ActivityReplaced, run_message
from .tree_workflow import TreeRun

log = logging.getLogger(__name__)

MOST_ABORTED = 512 * 1024
"""Characters of the names that signals may write into a workflow's memo. The server ends a workflow whose memo takes
more than 2 MiB."""


@workflow.defn(dynamic=True, sandboxed=False)
class TaskWorkflow:
    """Runs one message or one tree."""

    def __init__(self) -> None:
        self._aborted: set[str] = set()
        self._revoked: set[str] = set()
        self._tree: TreeRun | None = None

    @workflow.signal(name=wire.ABORT)
    def abort(self, members: list[str] | None = None) -> None:
        """Note that the task, or some members of the tree, were asked to stop. A running task reads the note itself.

        Without the list, which may be empty, the signal has no effect: anyone can send it, even without a key.
        """
        if members is None:
            return
        names = [f"{wire.ABORTED}:{member}" for member in members if is_name(member)] if members else [wire.ABORTED]
        known = len(self._aborted)
        self._aborted.update(names)
        if known < len(self._aborted) and sum(map(len, self._aborted)) <= MOST_ABORTED:
            workflow.upsert_memo(dict.fromkeys(names, True))

    @workflow.signal(name=wire.REVOKE)
    def revoke(self, ids: list[str] | None = None) -> None:
        """Keep members of the tree from starting."""
        if ids is None:
            return
        names = [id for id in ids if is_name(id)]
        self._revoked.update(names)
        if self._tree is not None:
            self._tree.revoke(names)

    @workflow.signal(name=wire.SLICE)
    def slice_reported(self, report: Any = None) -> None:
        """Take over what a worker tells of the members of a slice. A signal that holds no report has no effect."""
        if self._tree is not None:
            with contextlib.suppress(InvalidTaskError):
                self._tree.slice_reported(SliceReport.read(report))

    @workflow.run
    async def run(self, payloads: Sequence[RawValue]) -> Any:
        try:
            return await self._run(payloads)
        except (UnknownWorkflow, NewerMessage):
            raise  # another worker may be able to run it
        except (InvalidTaskError, RecursionError) as error:
            raise refused(error) from None

    async def _run(self, payloads: Sequence[RawValue]) -> Any:
        unit = await received_unit(payloads)
        if is_template(unit, workflow.info().workflow_id):
            unit = await when_due(fired(unit, workflow.info().workflow_id, workflow.info().workflow_start_time))
        if isinstance(unit, Tree):
            return await self._run_tree(unit)
        try:
            return to_raw(await run_message(unit, ahead_of(unit)))
        except ActivityReplaced as replaced:
            workflow.upsert_memo({wire.TREE: True})
            return await self._run_tree(Tree.decode(replaced.payloads), nested=True)

    async def _run_tree(self, tree: Tree, nested: bool = False) -> Any:
        if (failure := failed_beforehand(tree)) is not None:
            raise failure
        self._revoked.update(tree.from_parent.revoked)
        sent = next((message for message in tree.messages if message.sent), None)
        self._tree = TreeRun(tree, ahead_of(sent) if sent else timedelta(0), self._revoked, nested=nested)
        return to_raw(written(await self._tree.run(), tree))


async def received_unit(payloads: Sequence[RawValue]) -> Unit:
    """Return the message or tree that the workflow was started with."""
    try:
        first = header_in(workflow.info().headers)
        others = [from_raw(payload) for payload in payloads]
    except Exception as error:  # the codecs have refused a payload, and `payload.converter` has logged it
        raise UnknownWorkflow(f"{type(error).__name__}: {error}") from None  # another worker may have the key
    return await plain_call(others) if first is None else read_unit(first, others)


async def when_due(unit: Unit) -> Unit:
    """Wait until the countdown of a periodic task has passed: a Schedule starts its workflow without a delay."""
    if unit.eta is not None and (pause := (unit.eta - workflow.now()).total_seconds()) > 0:
        await asyncio.sleep(pause)
    return unit


def ahead_of(message: Message) -> timedelta:
    """Return by how much the server's clock is ahead of the sender's."""
    return workflow.info().workflow_start_time - message.sent if message.sent else timedelta(0)


def refused(error: InvalidTaskError | RecursionError) -> ApplicationError:
    """Return the failure of a workflow that no worker will ever be able to run."""
    text = one_line(error) if isinstance(error, InvalidTaskError) else "not a canvas that can be run: too deeply nested"
    info = workflow.info()
    if not workflow.unsafe.is_replaying():
        log.error("%s[%s] is refused: %s", one_line(info.workflow_type), one_line(info.workflow_id), text)
    return ApplicationError(text, type=InvalidTaskError.__name__, non_retryable=True)


# The library would log it each time the server offers the workflow to this worker; `plain_call` has logged it once.
hide_errors("temporalio.worker._workflow_instance", UnknownWorkflow)
# `payload.converter` logs what the codecs refuse, once a minute. The library would write a traceback each time.
hide_errors("temporalio.worker._workflow_instance", SecurityError)
# Anyone who can write to the server can send signals that can't be read, and each would take 40 lines.
for signal_name in (wire.ABORT, wire.REVOKE, wire.SLICE):
    shorten_lines(
        "temporalio.worker._workflow_instance",
        f"Failed deserializing signal input for {signal_name} ",
        ThrottledLog(log, logging.WARNING),
        f"%d signals {signal_name} of the last minute could not be read and had no effect",
    )
