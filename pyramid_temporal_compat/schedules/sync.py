"""Make the server's Schedules equal to the declared ones.

Several processes may do this at the same time, for example the workers of a deploy. Each step can be repeated. The id
of a Schedule follows from its entry, so no Schedule is created twice. Writing or deleting it again changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from temporalio.api.common.v1 import Memo
from temporalio.api.schedule.v1 import ScheduleState
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    DeleteScheduleRequest,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    UpdateScheduleRequest,
)
from temporalio.client import Client, ScheduleHandle, ScheduleListDescription
from temporalio.service import RPCError, RPCStatusCode

from ..client.connection import is_absent
from ..client.for_each import for_each
from ..client.list_filter import quoted
from ..exceptions import CeleryError, OperationalError
from ..message import wire_names as wire
from ..message.ids import prefix_of
from .declaration import Declared, declarations
from .drivers import has_its_driver, start_driver
from .entries import BadEntry, application_name, schedule_id
from .plan import Change, OnServer, Plan, make_plan

if TYPE_CHECKING:
    from ..interfaces import AppLike

LEAST_PATIENCE, PATIENCE_FOR_EACH = 120.0, 0.25
"""Seconds for a whole comparison or synchronisation, and more for each entry. It takes 26 ms to create a schedule."""
FAILURES = (CeleryError, OperationalError, RPCError)
"""What a comparison with the server may raise: a bad entry, an absent server, a refusal."""
AT_ONCE = 8
"""Calls to the server under way at a time."""
LOOKS_AT_THE_LIST, LOOK_AGAIN_AFTER = 50, 0.1
"""How often to look whether the server's list still has a deleted Schedule, and the seconds between two looks."""


class NoPermission(OperationalError):
    """The server does not let this client read or change schedules."""


class ForeignSchedule(OperationalError):
    """A Schedule on the server has the id of a declared entry and belongs to somebody else."""


def synchronise_app(app: AppLike, *, prune: bool = True, change: bool = True, look_at_each: bool = False) -> Plan:
    """Compare the server with what the app declares, and with `change` make it equal. Return what differed.

    Raises `BadEntry` before anything has changed. `synchronise` says what `look_at_each` does.
    """
    application, declared = application_name(app), declarations(app)

    def work(client: Client) -> Awaitable[Plan]:
        return synchronise(client, application, declared, prune=prune, change=change, look_at_each=look_at_each)

    return app.temporal.call(work, LEAST_PATIENCE + PATIENCE_FOR_EACH * len(declared))


async def synchronise(
    client: Client,
    application: str,
    declared: Sequence[Declared],
    *,
    prune: bool = True,
    change: bool = True,
    look_at_each: bool = False,
) -> Plan:
    """Compare the server with the declaration, and with `change` make it equal. Return what differed.

    The server's list shows every changed declaration and edited times. It is one call for up to 1,000 schedules.

    :param look_at_each: also see arguments, queue and overlap that somebody has edited in the web UI, by one more call
        for each schedule.

    Raises `ForeignSchedule` or `BadEntry`, before anything has changed.
    """
    with permission_is_needed(client):
        plan = await compare(client, application, declared, prune=prune, look_at_each=look_at_each, to_change=change)
        await check_arguments(client, plan)
        return await apply(client, plan) if change else plan


async def compare(
    client: Client,
    application: str,
    declared: Sequence[Declared],
    *,
    prune: bool = True,
    look_at_each: bool = False,
    to_change: bool = False,
) -> Plan:
    """Return how the server differs from the declaration. Raises `ForeignSchedule`.

    :param to_change: take a Schedule that the list does not have for absent. The list lags behind by moments. `apply`
        finds out when it creates the Schedule.
    """
    foreign: set[str] = set()
    listed = {each.id: each async for each in owned(client, application, foreign)}
    by_id = {each.id: each for each in declared}

    async def look(id: str) -> OnServer | None:
        wanted, entry = by_id.get(id), listed.get(id)
        if not look_at_each and wanted is not None and entry is not None and wanted.is_listed_in(entry.raw_entry.info):
            equal = await has_its_driver(client, wanted)
            return OnServer(id, wanted.entry.name, equal)
        if to_change and entry is None and id not in foreign:
            return None
        return await _look(client, application, id, wanted)

    found = await for_each(dict.fromkeys([*by_id, *listed]), look, AT_ONCE)
    return make_plan(declared, [each for each in found if each is not None], prune=prune)


async def owned(
    client: Client, application: str, foreign: set[str] | None = None
) -> AsyncIterator[ScheduleListDescription]:
    """Yield the Schedules that the application owns: by the prefix of their ids and by their memo.

    :param foreign: gets the ids of Schedules with the application's prefix that somebody else has made.
    """
    async for each in await client.list_schedules():
        if not each.id.startswith(prefix_of(application)):
            continue
        if await _entry_of(client, application, each.raw_entry.memo) is not None:
            yield each
        elif foreign is not None:
            foreign.add(each.id)


async def handle_of(client: Client, application: str, entry: str) -> ScheduleHandle | None:
    """Return the handle of an entry's Schedule; None if the server has no Schedule of that name."""
    found = await _look(client, application, schedule_id(application, entry), None)
    return None if found is None else client.get_schedule_handle(found.id)


async def _entry_of(client: Client, application: str, memo: Memo) -> str | None:
    """Return the entry for which the application has made a Schedule; None if it is not the application's."""
    mark = await _value(client, memo, wire.SCHEDULE)
    return str(mark.get("entry")) if isinstance(mark, dict) and mark.get("app") == application else None


async def _value(client: Client, memo: Memo, key: str) -> Any:
    if key not in memo.fields:
        return None
    try:
        (found,) = await client.data_converter.decode([memo.fields[key]])
    except Exception:  # another application's key has encrypted it, or it is not what we write
        return None
    return found


async def check_arguments(client: Client, plan: Plan) -> None:
    """Raise `BadEntry` for a workflow whose arguments can't be encoded. A task's arguments are encoded before."""
    for change in plan.differences:
        if change.declared is not None and change.declared.entry.workflow is not None:
            try:
                await change.declared.encoded(client)
            except Exception as error:  # what the application's converter raises
                raise BadEntry(change.entry, f"its args can't be sent: {error}") from error


async def apply(client: Client, plan: Plan) -> Plan:
    """Make the changes of a plan. Return what was changed: another process may have made some of the changes."""
    return Plan(await for_each(plan.changes, lambda change: _apply(client, change), AT_ONCE))


async def _apply(client: Client, change: Change) -> Change:
    if change.kind == "delete":
        await delete_schedule(client, change.id)
    elif change.declared is not None and change.is_difference:
        if change.kind == "create":
            if await _create(client, change.declared):
                return change
            found = await _look(client, change.declared.application, change.id, change.declared)
            if found is not None and found.is_as_declared:
                return replace(change, kind="unchanged")
        await _update(client, change.declared)
        return replace(change, kind="update")
    return change


async def _create(client: Client, declared: Declared) -> bool:
    """Create a Schedule. Return False if another process has created it since the plan was made."""
    request = CreateScheduleRequest(
        namespace=client.namespace,
        schedule_id=declared.id,
        schedule=await declared.encoded(client),
        identity=client.identity,
        request_id=str(uuid.uuid4()),
        memo=Memo(fields={wire.SCHEDULE: await declared.owner(client)}),
    )
    try:
        await client.workflow_service.create_schedule(request, retry=True)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
        return False
    await start_driver(client, declared)
    return True


async def _update(client: Client, declared: Declared) -> None:
    """Write a Schedule anew. Its past firings, and whether it is paused, stay as they are."""
    found = await _describe(client, declared.id)
    if found is None:  # deleted since the plan was made
        await _create(client, declared)
        return
    schedule = await declared.encoded(client)
    schedule.state.CopyFrom(_state(found.schedule.state, declared))
    await client.workflow_service.update_schedule(
        UpdateScheduleRequest(
            namespace=client.namespace,
            schedule_id=declared.id,
            schedule=schedule,
            identity=client.identity,
            request_id=str(uuid.uuid4()),
        ),
        retry=True,
    )
    await start_driver(client, declared)


def _state(found: ScheduleState, declared: Declared) -> ScheduleState:
    """Return the state to keep. The note of a paused Schedule says why it is paused, so it stays."""
    kept = ScheduleState()
    kept.CopyFrom(found)
    if declared.entry.policy.note is not None and not kept.paused:
        kept.notes = declared.entry.policy.note
    return kept


async def delete_schedule(client: Client, id: str) -> None:
    """Delete a Schedule, and wait until the server's list no longer has it.

    The list lags behind by moments. A comparison that still finds the Schedule there would not create it again.
    """
    request = DeleteScheduleRequest(namespace=client.namespace, schedule_id=id, identity=client.identity)
    with _absence_is_fine():
        await client.workflow_service.delete_schedule(request, retry=True)
    for _ in range(LOOKS_AT_THE_LIST):
        if not await is_listed(client, id):
            return
        await asyncio.sleep(LOOK_AGAIN_AFTER)


async def is_listed(client: Client, id: str) -> bool:
    """Return whether the server's list has a Schedule. False if the server can't list one by its id."""
    try:
        return bool([each async for each in await client.list_schedules(query=f"ScheduleId = {quoted(id)}")])
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        return False


async def _describe(client: Client, id: str) -> DescribeScheduleResponse | None:
    request = DescribeScheduleRequest(namespace=client.namespace, schedule_id=id)
    with _absence_is_fine():
        return await client.workflow_service.describe_schedule(request, retry=True)
    return None


async def _look(client: Client, application: str, id: str, declared: Declared | None) -> OnServer | None:
    found = await _describe(client, id)
    if found is None:
        return None
    entry = await _entry_of(client, application, found.memo)
    if entry is None:
        raise ForeignSchedule(
            f"the schedule {id!r} on the server was not made by the application {application!r}, or with another "
            "encryption key: rename the entry, or delete the schedule in the server's web UI"
        )
    if declared is None:
        return OnServer(id, entry, False)
    digest = await _value(client, found.schedule.action.start_workflow.memo, wire.FIRING)
    equal = declared.is_held_in(found.schedule, digest) and await has_its_driver(client, declared)
    return OnServer(id, entry, equal)


@contextlib.contextmanager
def permission_is_needed(client: Client) -> Iterator[None]:
    """Say which permission is missing if the server refuses a call for it."""
    try:
        yield
    except RPCError as error:
        if error.status is not RPCStatusCode.PERMISSION_DENIED:
            raise
        answer = error.message.rstrip(".") or error.status.name
        raise NoPermission(
            f"the server does not let this client read and change schedules in namespace {client.namespace!r}: "
            f"{answer}; give its key or certificate the write role (ptemporal.api_key)"
        ) from error


@contextlib.contextmanager
def _absence_is_fine() -> Iterator[None]:
    try:
        yield
    except RPCError as error:
        if not is_absent(error):
            raise
