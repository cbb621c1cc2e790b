"""Step: read the results of earlier tasks of the canvas, which stand in front of a task's own arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...canvas.errbacks import takes_error
from ...context import Context
from ...exceptions import InvalidTaskError
from ...message.message import Message
from ...message.tree import check_places
from ...payload import Payload
from ...payload.errors import from_plain
from ...payload.serializers import deserialize
from ...task.task import Task
from ..job import Job

if TYPE_CHECKING:
    from ...interfaces import AppLike


def previous_results(app: AppLike, task: Task, job: Job, args: Any, kwargs: Mapping[str, Any]) -> list[Any]:
    """Return the arguments in front of the message's own: a result, a list of results, or an error callback's error."""
    joins = job.message.joins
    try:
        check_places(joins, len(job.previous_results))
    except (LookupError, TypeError) as error:
        raise InvalidTaskError(f"task {task.name}[{job.message.id}]: {error}") from None
    if isinstance(joins, Mapping):
        return _error(app, task, job, args, kwargs)
    return [_value(app, joins, job.previous_results)]


def _value(app: AppLike, written: Any, payloads: Sequence[Payload]) -> Any:
    if isinstance(written, list):
        return [_value(app, each, payloads) for each in written]
    accepted = app.conf["result_accept_content"] or app.conf["accept_content"]
    return deserialize(payloads[written], accepted, "result_accept_content")


def _error(app: AppLike, task: Task, job: Job, args: Any, kwargs: Mapping[str, Any]) -> list[Any]:
    joins = job.message.joins
    failed = Message.read(joins["envelope"], Payload({}, b""))
    if not takes_error(task.signature(tuple(args), dict(kwargs), app=app)):
        return [failed.id]
    args, kwargs = _given(app, failed, [job.previous_results[place] for place in joins.get("given", ())])
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
    error = from_plain(joins["error"])
    return [request, error, joins["error"].get("traceback") or ""]


def _given(app: AppLike, failed: Message, given: Sequence[Payload]) -> tuple[Any, Any]:
    """Return the failed task's arguments; None if they were not sent along."""
    if not given:
        return None, None
    body, *before = given
    try:
        found = deserialize(body, app.conf["accept_content"])
        args, kwargs = list(found["args"]), dict(found["kwargs"])
        return (args if failed.joins is None else [_value(app, failed.joins, before), *args]), kwargs
    except Exception:  # arguments that can't be read may be why the task failed: pass its error on without them
        return None, None
