"""Error callbacks: which arguments they take, and how they are called after a run in this process."""

from __future__ import annotations

import functools
import inspect
import logging
from typing import TYPE_CHECKING, Any

from .group import group

if TYPE_CHECKING:
    from ..context import Context
    from ..interfaces import AppLike

log = logging.getLogger(__name__)


def takes_error(errback: Any) -> bool:
    """Return whether an errback is called with request, exception and traceback.

    Celery's rule: these go to a plain function that takes more than one argument and is not bound. Any other errback
    runs as a task, with the id of the failed task.
    """
    try:
        task = errback.type
    except KeyError:
        return False
    static = inspect.getattr_static(task, "run", None)
    if not isinstance(static, staticmethod):
        return False
    own = ((), {}) if errback.immutable else (errback.args, errback.kwargs)
    try:
        return _takes_more_than_one(functools.partial(task.run, *own[0], **own[1]))
    except (TypeError, ValueError):
        return _takes_more_than_one(task.run)


def _takes_more_than_one(function: Any) -> bool:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in by_position for parameter in parameters) > 1


def call_errbacks(app: AppLike, request: Context, error: BaseException, traceback: Any) -> None:
    """Call the errbacks of a run that failed in this process."""
    with_id = []
    for found in request.errbacks or ():
        errback = app.signature(found)
        if not takes_error(errback):
            with_id.append(errback)
            continue
        try:
            errback(request, error, traceback)
        except Exception:
            log.exception("Errback %r raised an exception", errback.name)
    if with_id:
        group(with_id, app=app).apply((request.id,), parent_id=request.id, root_id=request.root_id or request.id)
