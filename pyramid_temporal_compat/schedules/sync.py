"""Make the server's Schedules equal to the declared ones.

Several processes may do this at the same time, for example the workers of a deploy. Each step can be repeated. The id
of a Schedule follows from its entry, so no Schedule is created twice. Writing or deleting it again changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

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

from ..exceptions import OperationalError
from ..message import wire_names as wire
from ..message.ids import prefix_of
from .declaration import Declared
from .entries import schedule_id
from .plan import Change, OnServer, Plan, make_plan

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 8
"""Calls to the server under way at a time."""


class ForeignSchedule(OperationalError):
    """A Schedule on the server has the id of a declared entry and belongs to somebody else."""


async def synchronise(
    client: Client, application: str, declared: Sequence[Declared], *, prune: bool = True, change: bool = True
) -> Plan:
    """Compare the server with the declaration, and with `change` make it equal. Return what differed.

    Raises `ForeignSchedule`, before anything has changed.
    """
    plan = await compare(client, application, declared, prune=prune)
    if change:
        await apply(client, plan)
    return plan


async def compare(client: Client, application: str, declared: Sequence[Declared], *, prune: bool = True) -> Plan:
    """Return how the server differs from the declaration. Raises `ForeignSchedule`."""
    listed = [each.id async for each in owned(client, application)]
    ids = list(dict.fromkeys([*(each.id for each in declared), *listed]))
    # The server's list lags behind by moments, and does not tell what a Schedule starts: so each is looked at.
    found = await _each(ids, lambda id: _look(client, application, id))
    return make_plan(declared, [each for each in found if each is not None], prune=prune)


async def owned(client: Client, application: str) -> AsyncIterator[ScheduleListDescription]:
    """Yield the Schedules that the application owns: by the prefix of their ids and by their memo."""
    async for each in await client.list_schedules():
        ours = each.id.startswith(prefix_of(application))
        if ours and await _entry_of(client, application, each.raw_entry.memo) is not None:
            yield each


async def handle_of(client: Client, application: str, entry: str) -> ScheduleHandle | None:
    """Return the handle of an entry's Schedule; None if the server has no Schedule of that name."""
    found = await _look(client, application, schedule_id(application, entry))
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


async def apply(client: Client, plan: Plan) -> None:
    """Make the changes of a plan."""
    await _each(plan.differences, lambda change: _apply(client, change))


async def _apply(client: Client, change: Change) -> None:
    if change.kind == "delete":
        await _delete(client, change.id)
    elif change.declared is not None:
        if change.kind == "create" and await _create(client, change.declared):
            return
        await _update(client, change.declared)


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


def _state(found: ScheduleState, declared: Declared) -> ScheduleState:
    """Return the state to keep. The note of a paused Schedule says why it is paused, so it stays."""
    kept = ScheduleState()
    kept.CopyFrom(found)
    if declared.entry.policy.note is not None and not kept.paused:
        kept.notes = declared.entry.policy.note
    return kept


async def _delete(client: Client, id: str) -> None:
    request = DeleteScheduleRequest(namespace=client.namespace, schedule_id=id, identity=client.identity)
    with _absence_is_fine():
        await client.workflow_service.delete_schedule(request, retry=True)


async def _describe(client: Client, id: str) -> DescribeScheduleResponse | None:
    request = DescribeScheduleRequest(namespace=client.namespace, schedule_id=id)
    with _absence_is_fine():
        return await client.workflow_service.describe_schedule(request, retry=True)
    return None


async def _look(client: Client, application: str, id: str) -> OnServer | None:
    found = await _describe(client, id)
    if found is None:
        return None
    entry = await _entry_of(client, application, found.memo)
    if entry is None:
        raise ForeignSchedule(
            f"the schedule {id!r} on the server was not made by the application {application!r}, or with another "
            "encryption key: rename the entry, or delete the schedule in the server's web UI"
        )
    digest = await _value(client, found.schedule.action.start_workflow.memo, wire.FIRING)
    return OnServer(id, entry, str(digest))


@contextlib.contextmanager
def _absence_is_fine() -> Iterator[None]:
    try:
        yield
    except RPCError as error:
        about_namespace = "amespace" in error.message and "not found" in error.message
        if error.status is not RPCStatusCode.NOT_FOUND or about_namespace:
            raise


async def _each(items: Sequence[T], call: Callable[[T], Awaitable[R]]) -> list[R]:
    """Call with each item, `AT_ONCE` at a time, and return the answers in their order."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> R:
        async with turn:
            return await call(item)

    return list(await asyncio.gather(*map(one, items)))
