"""What came before a task in its canvas, put in front of its arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..canvas.errbacks import takes_error
from ..context import Context
from ..exceptions import InvalidTaskError
from ..message.message import Message
from ..message.tree import check_places
from ..payload import Payload
from ..payload.errors import from_wire
from ..payload.serializers import deserialize
from ..payload.types import loads
from ..task.task import Task
from .outcome import Job

if TYPE_CHECKING:
    from ..interfaces import AppLike


def joined(app: AppLike, task: Task, job: Job, args: Any, kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments that go before the message's own: a result, a list of results, or what an errback is told."""
    joins = job.message.joins
    try:
        check_places(joins, len(job.before))
    except (LookupError, TypeError) as error:
        raise InvalidTaskError(f"task {task.name}[{job.message.id}]: {error}") from None
    if isinstance(joins, Mapping):
        return _error(app, task, job, args, kwargs)
    return [_value(app, joins, job.before)]


def _value(app: AppLike, written: Any, payloads: Sequence[Payload]) -> Any:
    if isinstance(written, list):
        return [_value(app, each, payloads) for each in written]
    accepted = app.conf["result_accept_content"] or app.conf["accept_content"]
    return deserialize(payloads[written], accepted, "result_accept_content")


def _error(app: AppLike, task: Task, job: Job, args: Any, kwargs: Mapping[str, Any]) -> list[Any]:
    joins = job.message.joins
    failed = Message.decode(json.dumps(joins["envelope"]).encode(), Payload({}, b""))
    if not takes_error(task.signature(tuple(args), dict(kwargs), app=app)):
        return [failed.id]
    args, kwargs = _given(app, failed, [job.before[place] for place in joins.get("given", ())])
    request = Context(
        args=args,
        kwargs=kwargs,
        id=failed.id,
        task=failed.task,
        root_id=failed.root_id,
        parent_id=failed.parent_id,
        group=failed.group,
        argsrepr=failed.argsrepr,
        kwargsrepr=failed.kwargsrepr,
        headers=failed.read_headers() or None,
        retries=failed.retries,
    )
    error = from_wire(loads(json.dumps(joins["error"]).encode()))
    return [request, error, joins["error"].get("traceback") or ""]


def _given(app: AppLike, failed: Message, given: Sequence[Payload]) -> tuple[Any, Any]:
    """The failed task's arguments; nothing, where they were not sent along."""
    if not given:
        return None, None
    body, *before = given
    try:
        found = deserialize(body, app.conf["accept_content"])
        args, kwargs = list(found["args"]), dict(found["kwargs"])
        return (args if failed.joins is None else [_value(app, failed.joins, before), *args]), kwargs
    except Exception:  # what can't be read may be what the task has failed of: its error is told all the same
        return None, None
