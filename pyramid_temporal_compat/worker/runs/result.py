"""Step: write the function's result as bytes, before the commit, and the children and additions that go with it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from ...context import Context
from ...exceptions import NotSerializable, PayloadTooLarge
from ...message import wire_names as wire
from ...message.message import Message, total_size
from ...payload import Payload
from ...security import signed_results
from ...task.task import Task
from ..job import Job
from ..outcome import Succeeded

if TYPE_CHECKING:
    from ...interfaces import AppLike

log = logging.getLogger(__name__)


def write_result(app: AppLike, task: Task, message: Message, request: Context, value: Any) -> Payload:
    """Return the result as a payload.

    Called before the commit, so that a result that can't travel fails the task and rolls back what it wrote.
    """
    if request.ignore_result and not message.is_passed_on:
        value = None
    conf = app.conf
    try:
        payload = signed_results.write_result(app, message, value)
    except NotSerializable as error:
        raise NotSerializable(f"the result of task {task.name!r}: {error}") from None
    if request.ignore_result:
        payload = Payload({**payload.metadata, wire.NOT_KEPT: b"1"}, payload.data)
    limit = conf["ptemporal.payload_limit"]
    size = total_size([wire.with_added(payload, added_by(request))])
    if size > limit:
        # The client library would refuse to send it, and the server would have the task run again, for ever.
        with_what = " with what it adds to its chord" if request.added else ""
        raise PayloadTooLarge(
            f"the result of task {task.name!r}{with_what} takes {size:,} bytes, the limit is {limit:,} "
            "(ptemporal.payload_limit): store the data and return its key"
        )
    return payload


def succeeded(job: Job, request: Context, written: Payload, limit: int) -> Succeeded:
    """Return the outcome of a run that succeeded.

    :param limit: size in bytes that the result may have, with all that goes with it.
    """
    added = added_by(request)
    children = (*children_of(request), *(job.message.follows or ()))
    room = limit - total_size([wire.with_added(written, added)])
    return Succeeded(written, fitting(children, room, job.message), added)


def children_of(request: Context) -> tuple[Any, ...]:
    """Return the tasks that the run asked for, each as `AsyncResult.as_tuple` writes it."""
    return tuple(child.as_tuple() for child in request.children or ())


def added_by(request: Context) -> tuple[tuple[Payload, ...], ...]:
    """Return the trees that the run added to its chord."""
    return tuple(tuple(tree.encode()) for tree in request.added or ())


def fitting(children: tuple[Any, ...], room: int, message: Message) -> tuple[Any, ...]:
    """Return as many of the children as fit into `room` bytes: the run is committed, so its end must arrive."""
    size = len(json.dumps(children)) + len(wire.CHILDREN)
    if size <= room:
        return children
    log.warning(
        "%s[%s] has asked for %d tasks: its result does not name them all, which would take %d bytes more than the "
        "server takes (ptemporal.payload_limit)",
        message.task,
        message.id,
        len(children),
        size - room,
    )
    fits: list[Any] = []
    for child in children:
        room -= len(json.dumps(child)) + len(", ")
        if room < len(wire.CHILDREN) + len("[]"):
            break
        fits.append(child)
    return tuple(fits)
