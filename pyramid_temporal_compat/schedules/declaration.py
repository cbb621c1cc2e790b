"""What the server is to hold for an entry: its Schedule, complete but for the encoding of its payloads."""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Payload as ProtoPayload
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
from temporalio.api.schedule.v1 import Schedule, ScheduleListInfo, ScheduleSpec
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo
from temporalio.client import Client
from temporalio.common import Priority

from ..canvas.planner import as_unit, plan
from ..canvas.tree_ids import Ids
from ..exceptions import CeleryError
from ..message import wire_names as wire
from ..message.message import is_name
from ..message.priority import priority_of
from ..message.scheduled import as_template
from ..message.tree import Tree
from ..payload.headers import FIELD, split, to_arguments
from ..security.signed_places import accepts_only_signed, without_signature
from .entries import BadEntry, Entry, application_name, schedule_id
from .firing_times import (
    LEAST_CATCHUP,
    LONGEST_CATCHUP,
    NotOnTheServer,
    catchup_of,
    check_times,
    is_driven,
    once,
    spec_of,
)
from .sources import declared_entries

if TYPE_CHECKING:
    from ..interfaces import AppLike

NEVER = dt.datetime(2000, 1, 1)
"""A time that has passed."""
DECLARED = "declared as"
"""The comment before the digest."""
LONGEST_BASE = 900
"""Bytes of a firing's id before the server adds the time."""


@dataclass(frozen=True)
class Declared:
    """An entry as the server is to hold it."""

    id: str
    application: str
    entry: Entry
    schedule: Schedule
    """Times and policies, and the action without its payloads."""
    arguments: Sequence[Any]
    """The arguments of the workflow, and first, for a task or canvas, what travels in the header. A payload is sent as
    it is."""
    summary: str
    memo: Mapping[str, Any]
    """The memo of the workflow that a firing starts."""
    is_driven: bool = False
    """Whether a driver fires it, because only its class knows its times."""

    @cached_property
    def digest(self) -> str:
        """Changes if anything changes that the server is to hold. The note is left out: people may write one, too."""
        held = MessageToDict(self.schedule)
        held.pop("state", None)
        arguments = [_plain(each) for each in self.arguments]
        parts = [held, arguments, self.summary, dict(self.memo), self.is_driven]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()[:32]

    @cached_property
    def spec(self) -> ScheduleSpec:
        """Return the times, with the digest in the comment of a time that never comes.

        The server's list shows the comment. It shows neither the arguments nor a memo that can change.
        """
        found = ScheduleSpec()
        found.CopyFrom(self.schedule.spec)
        found.exclude_structured_calendar.append(once(NEVER, f"{DECLARED} {self.digest}"))
        return found

    def is_listed_in(self, found: ScheduleListInfo) -> bool:
        """Return whether the server's list shows what is declared. The list does not show changed arguments."""
        return found.spec == self.spec and found.workflow_type == self.schedule.action.start_workflow.workflow_type

    def is_held_in(self, found: Schedule, digest: str | None) -> bool:
        """Return whether the server holds what is declared.

        :param digest: what the memo of the action has. A web UI or a client that changes the action drops it.
        """
        ours, theirs = self.schedule.action.start_workflow, found.action.start_workflow
        return (
            digest == self.digest
            and found.spec == self.spec
            and found.policies == self.schedule.policies
            and (ours.workflow_id, ours.workflow_type, ours.task_queue.name, ours.priority)
            == (theirs.workflow_id, theirs.workflow_type, theirs.task_queue.name, theirs.priority)
        )

    async def encoded(self, client: Client) -> Schedule:
        """Return the Schedule with its payloads, as the codecs of the client write them."""
        found = Schedule()
        found.CopyFrom(self.schedule)
        found.spec.CopyFrom(self.spec)
        start = found.action.start_workflow
        converter = client.data_converter
        header, arguments = split(self.arguments)
        if header is not None:
            start.header.fields[FIELD].CopyFrom((await converter.encode([header]))[0])
        if arguments:
            start.input.CopyFrom(Payloads(payloads=await converter.encode(arguments)))
        for key, value in {**self.memo, wire.FIRING: self.digest}.items():
            start.memo.fields[key].CopyFrom((await converter.encode([value]))[0])
        if self.summary:
            start.user_metadata.summary.CopyFrom((await converter.encode([self.summary]))[0])
        return found

    async def owner(self, client: Client) -> ProtoPayload:
        """Return the memo that marks the Schedule as this application's."""
        mark = {"app": self.application, "entry": self.entry.name}
        return (await client.data_converter.encode([mark]))[0]


def _plain(argument: Any) -> Any:
    payload = getattr(argument, "payload", None)
    if payload is None:
        return argument
    return [{key: value.hex() for key, value in payload.metadata.items()}, without_signature(payload.data).hex()]


def declarations(app: AppLike) -> list[Declared]:
    """Return what the server is to hold for each of the application's entries. Raises `BadEntry`."""
    application = application_name(app)
    found = [declaration(app, application, entry) for entry in declared_entries(app)]
    by_workflow: dict[str, str] = {}
    for each in found:
        base = each.schedule.action.start_workflow.workflow_id
        if (other := by_workflow.setdefault(base, each.entry.name)) != each.entry.name:
            raise BadEntry(each.entry.name, f"its runs would have the ids of those of {other!r}; rename one of the two")
    return found


def declaration(app: AppLike, application: str, entry: Entry) -> Declared:
    """Return what the server is to hold for one entry. Raises `BadEntry`."""
    try:
        check_times(entry.schedule)
        driven = is_driven(entry.schedule, app)
        found = _without_times(entry) if driven else _with_times(app, entry)
    except (NotOnTheServer, OverflowError, ValueError) as error:
        raise BadEntry(entry.name, str(error)) from error
    policy = entry.policy
    found.policies.overlap_policy = ScheduleOverlapPolicy.Value(f"SCHEDULE_OVERLAP_POLICY_{policy.overlap.upper()}")
    found.policies.pause_on_failure = policy.pause_on_failure
    found.state.notes = policy.note or ""
    start = found.action.start_workflow
    start.workflow_id = firing_base(application, entry.name)
    fill = _start_workflow if entry.workflow is not None else _start_task
    arguments, summary, memo = fill(start, app, entry)
    return Declared(schedule_id(application, entry.name), application, entry, found, arguments, summary, memo, driven)


def _with_times(app: AppLike, entry: Entry) -> Schedule:
    policy = entry.policy
    found = Schedule(spec=spec_of(entry.schedule, app, jitter=policy.jitter, offset=policy.offset))
    window = catchup_of(entry.schedule, app) if policy.catchup_window is None else policy.catchup_window
    found.policies.catchup_window.FromTimedelta(max(window, LEAST_CATCHUP))
    return found


def _without_times(entry: Entry) -> Schedule:
    """Return the Schedule of a driven entry. Raises if it has an option that belongs to times of the server."""
    for option in ("jitter", "offset", "catchup_window"):
        if getattr(entry.policy, option) is not None:
            raise NotOnTheServer(
                f"it has {option}, and is_due() of {type(entry.schedule).__qualname__} tells its times"
            )
    found = Schedule()
    found.policies.catchup_window.FromTimedelta(LONGEST_CATCHUP)  # no run of a driver is late
    return found


Content = tuple[Sequence[Any], str, Mapping[str, Any]]
"""Arguments, summary and memo of the workflow that a firing starts."""


def _start_workflow(start: NewWorkflowExecutionInfo, app: AppLike, entry: Entry) -> Content:
    start.workflow_type.name = str(entry.workflow)
    start.task_queue.name = entry.queue or app.conf["task_default_queue"]
    if entry.kwargs:
        raise BadEntry(entry.name, "a workflow takes args only, and the entry has kwargs")
    return entry.args, "", {}


def _start_task(start: NewWorkflowExecutionInfo, app: AppLike, entry: Entry) -> Content:
    try:
        unit = as_template(_unit(app, entry, start.workflow_id), entry.name)
    except (CeleryError, ValueError, TypeError, LookupError) as error:
        raise BadEntry(entry.name, str(error)) from error
    start.workflow_type.name = unit.task
    start.task_queue.name = unit.queue
    _set_priority(start.priority, priority_of(unit))
    return to_arguments(unit.encode()), unit.summary[: wire.SUMMARY_LIMIT], wire.memo_of(unit) or {}


def _unit(app: AppLike, entry: Entry, template_id: str) -> Any:
    """Return the message of a firing, or the tree of a canvas or of a task with callbacks."""
    options = dict(entry.options)
    if entry.queue is not None:
        options["queue"] = entry.queue
    if entry.canvas is not None:
        signature = app.signature(copy.deepcopy(dict(entry.canvas)))
    else:
        signature = app.signature(entry.task, args=entry.args, kwargs=dict(entry.kwargs))
    planned = plan(signature, (), {}, options, Ids(template_id))
    unit = as_unit(planned.node, app)
    if isinstance(unit, Tree) and accepts_only_signed(app):
        raise BadEntry(
            entry.name,
            "with accept_content = ['auth'] the tasks of a canvas are signed for their ids, and each run has "
            "other ids; make it a task that calls the canvas",
        )
    return unit


def firing_base(application: str, entry: str) -> str:
    """Return the id of a firing's workflow, to which the server adds the time.

    It has no slash, because an id with a slash names a member of a canvas.
    """
    base = f"{application}:{entry}".replace("/", ":")
    while len(base.encode()) > LONGEST_BASE or not is_name(base):
        base = base[:-1]
    return base


def _set_priority(proto: Any, priority: Priority) -> None:
    if priority.priority_key is not None:
        proto.priority_key = priority.priority_key
    if priority.fairness_key is not None:
        proto.fairness_key = priority.fairness_key
    if priority.fairness_weight is not None:
        proto.fairness_weight = priority.fairness_weight
