"""How the members of a tree have ended, collected from the history of the workflow that runs the tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from temporalio.client import WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from .. import states
from ..exceptions import WorkerLostError
from ..message import wire_names as wire
from ..message.failures import error_of
from ..message.ids import bundle_of, is_prefix
from ..message.message import Message
from ..payload import Payload
from .history import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    Encoded,
    Event,
    MemoChanged,
    WorkflowClosed,
)
from .read_status import failed_status, result_status, revoked_status
from .status import Status

REVOKING = {WorkflowExecutionStatus.CANCELED: "revoked", WorkflowExecutionStatus.TERMINATED: "terminated"}
NEVER_RAN = "it was linked to a task that ended otherwise, and did not run"
NO_RESULT = Payload({"encoding": b"json/plain"}, b"null")


class MemberEnds:
    """The ends of a tree's members, collected event by event."""

    def __init__(self, workflow_id: str) -> None:
        self.ended: dict[str, Status] = {}
        self.length = 0
        """Number of events collected."""
        self._workflow_id = workflow_id
        self._workflow_end: Status | None = None
        self._slices: dict[str, ActivityScheduled] = {}
        """The slices, by the ids of their activities."""
        self._child_ends: dict[str, Status] = {}
        """Outcome shared by all members of a child workflow, keyed by `<child workflow id>/`."""

    async def add(self, event: Event) -> None:
        """Collect what the history's next event says."""
        self.length = event.number
        if isinstance(event, ActivityScheduled):
            self.ended.pop(event.activity_id, None)
            if event.name == wire.SLICE:
                self._slices[event.activity_id] = event
        elif isinstance(event, ActivityCompleted):
            (result,) = await event.result.payloads()
            self._end(event.activity, event, result_status(result))
        elif isinstance(event, ActivityFailed):
            cause = await event.failure.error()
            if not isinstance(cause, ApplicationError) or cause.type not in wire.CONTINUES:
                self._end(event.activity, event, failed_status(cause))
        elif isinstance(event, MemoChanged):
            for key, written in event.fields.items():
                await self._add_note(key, written, event)
        elif isinstance(event, WorkflowClosed):
            self._workflow_end = await _closed_status(event)

    async def first_in_slice(self, activity_id: str) -> Message | None:
        """Return the member that a slice begins with."""
        calls = await self._slices[activity_id].calls() if activity_id in self._slices else []
        return calls[0][0] if calls else None

    async def _add_note(self, key: str, written: Encoded, event: Event) -> None:
        """Collect what the workflow has noted in its memo, where no activity shows how members ended."""
        if key.startswith(wire.ENDED):
            if (status := _noted_status(await written.value(), event)) is not None:
                self.ended[key.removeprefix(wire.ENDED)] = status
        elif key.startswith(wire.ENDED_ALIKE):
            note = await written.value()
            if (status := _noted_status(note, event)) is not None:
                for member in map(str, note.get("of") or ()):
                    (self._child_ends if is_prefix(member) else self.ended)[member] = status

    def _end(self, activity: ActivityScheduled, event: Event, status: Status) -> None:
        self.ended[activity.activity_id] = dataclasses.replace(
            status, name=activity.name, queue=activity.queue, ended_at=event.time
        )

    def status_of(self, member: str) -> Status | None:
        """Return how the member has ended; None while it has not."""
        ended = self.ended.get(member) or self._end_with_child(member)
        if ended is not None or self._workflow_end is None:
            return ended
        if member == self._workflow_id or self._workflow_end.state == states.REVOKED:
            return self._workflow_end
        if bundle_of(member) == self._workflow_id:
            return Status(known=False)  # the transaction took this id, and then did not call a task with it
        return dataclasses.replace(revoked_status(NEVER_RAN), never_ran=True)

    def _end_with_child(self, member: str) -> Status | None:
        if not self._child_ends:
            return None
        return next((status for child, status in self._child_ends.items() if member.startswith(child)), None)


async def _closed_status(event: WorkflowClosed) -> Status:
    """Return the status of members that have nothing but the end of their workflow."""
    if event.status is WorkflowExecutionStatus.FAILED:
        failed = failed_status(await event.failure.error())
        return Status(failed.state, error=failed.error, ended=True, ended_at=event.time)
    if event.status in REVOKING:
        return dataclasses.replace(revoked_status(REVOKING[event.status]), ended_at=event.time)
    if event.status is WorkflowExecutionStatus.TIMED_OUT:
        return Status(states.FAILURE, error=error_of(WorkerLostError("its workflow timed out")), ended=True)
    return Status(states.SUCCESS, result=NO_RESULT, ended=True, ended_at=event.time)


def _noted_status(note: Any, event: Event) -> Status | None:
    """Return the status that a note in the memo gives to members; None if the note is not from this package."""
    if not isinstance(note, Mapping) or not isinstance(note.get("state"), str):
        return None
    error = note.get("error")
    known = error if isinstance(error, Mapping) else error_of(Exception("its error was not recorded"))
    return Status(note["state"], error=known, ended=True, ended_at=event.time)
