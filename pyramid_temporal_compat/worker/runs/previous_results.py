"""Step: read the results of earlier tasks of the canvas, which stand in front of a task's own arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...canvas.errbacks import takes_error
from ...context import Context
from ...exceptions import InvalidTaskError, SecurityError
from ...message.body import read_body
from ...message.message import Message
from ...message.tree import check_places
from ...payload import Payload
from ...payload.errors import from_plain
from ...security.signed_places import accepts_only_signed, check_body, check_results
from ...security.signed_results import is_signed_error, read_result
from ...task.task import Task
from ..job import Job

if TYPE_CHECKING:
    from ...interfaces import AppLike


def previous_results(app: AppLike, task: Task, job: Job, body: Mapping[str, Any]) -> list[Any]:
    """Return the arguments in front of the message's own: a result, a list of results, or an error callback's error.

    :param body: the message's body, which names the results that it takes if messages are signed.
    """
    joins = job.message.joins
    try:
        check_places(joins, len(job.previous_results))
    except (LookupError, TypeError) as error:
        raise InvalidTaskError(f"task {task.name}[{job.message.id}]: {error}") from None
    if isinstance(joins, Mapping):
        return _error(app, task, job, body)
    return [_values(app, job.message, body, job.previous_results)]


def _values(app: AppLike, message: Message, body: Mapping[str, Any], payloads: Sequence[Payload]) -> Any:
    """Return the values that `message.joins` names among the payloads."""

    def read(place: Any) -> Any:
        return list(map(read, place)) if isinstance(place, list) else read_result(app, payloads[place])

    def value_of(found: Any) -> Any:
        return list(map(value_of, found)) if isinstance(found, list) else found.value

    found = read(message.joins)
    if accepts_only_signed(app):
        check_results(message, body, found)
    return value_of(found)


def _error(app: AppLike, task: Task, job: Job, body: Mapping[str, Any]) -> list[Any]:
    joins = job.message.joins
    failed = Message.read(joins["envelope"], ())
    error, traceback = joins["error"], joins["error"].get("traceback") or ""
    if accepts_only_signed(app):
        failed = _as_it_was_signed(job.message, body, failed)
        if not is_signed_error(failed.id, error):
            error, traceback = None, ""
    if not takes_error(task.signature(tuple(body["args"]), dict(body["kwargs"]), app=app)):
        return [failed.id]
    args, kwargs = _given(app, failed, joins.get("given"), job.previous_results)
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
        own_headers=failed.read_headers() or None,
        retries=failed.retries,
    )
    return [request, _unsigned(failed) if error is None else from_plain(error), traceback]


def _as_it_was_signed(message: Message, body: Mapping[str, Any], failed: Message) -> Message:
    """Return what an error callback may know of the failed task: the task and the id that it was signed for."""
    about = body.get("error_of")
    if not isinstance(about, Mapping):
        raise SecurityError(f"task {message.task}[{message.id}]: it was not signed as an error callback: not run")
    own_error = (failed.task, failed.id) == (about["task"], about["id"])
    return Message(about["task"], about["id"], failed.body, "", joins=failed.joins if own_error else None)


def _unsigned(failed: Message) -> SecurityError:
    return SecurityError(
        f"task {failed.task}[{failed.id}] has failed, and no worker has signed its error: the server has ended it, or "
        "a chord failed with a member. Its text is left out"
    )


def _given(app: AppLike, failed: Message, given: Any, payloads: Sequence[Payload]) -> tuple[Any, Any]:
    """Return the failed task's arguments; None if they were not sent along.

    :param given: the places, among the payloads, of the failed task's body, and of the results in front of it.
    """
    if not given:
        return None, None
    try:
        body, before = ([payloads[place] for place in places] for places in given)
        found = read_body(failed.copy(body=tuple(body)), app.conf["accept_content"])
        args, kwargs = list(found["args"]), dict(found["kwargs"])
        if accepts_only_signed(app):
            check_body(failed.copy(chord=found.get("chord")), found)
        return (args if failed.joins is None else [_values(app, failed, found, before), *args]), kwargs
    except Exception:  # arguments that can't be read may be why the task failed: pass its error on without them
        return None, None
