"""Makes a task of a function: what `@task`, `@shared_task` and `@app.task` call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .parameters import Parameters
from .task import Task

if TYPE_CHECKING:
    from ..interfaces import AppLike


def task_from_function(
    function: Callable[..., Any], name: str, app: AppLike | None, options: Mapping[str, Any]
) -> Task:
    """Make a task that calls `function`. The options become attributes of the task's class."""
    options = dict(options)
    bind = options.pop("bind", False)
    base = options.pop("base", None) or (app.Task if app else Task)
    options.pop("name", None)
    signature = _signature(function, bind)
    attributes = {
        "_app": app,
        "name": name,
        "abstract": False,
        "run": function if bind else staticmethod(function),
        "__annotations__": getattr(function, "__annotations__", {}),
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__wrapped__": staticmethod(function),
        "_parameters_of_run": Parameters.of(signature),
        "__header__": staticmethod(_header(function, signature)),
        **options,
    }
    made: Task = type(function.__name__, (base,), attributes)()
    vars(made)["__qualname__"] = getattr(function, "__qualname__", function.__name__)
    return made


def _signature(function: Callable[..., Any], bound: bool) -> inspect.Signature:
    signature = inspect.signature(function).replace(return_annotation=inspect.Signature.empty)
    if not bound:
        return signature
    parameters = list(signature.parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    ):
        raise TypeError(f"{function.__qualname__}{signature}: bind=True passes the task as first argument; add `self`")
    if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return signature
    return signature.replace(parameters=parameters[1:])


def _header(function: Callable[..., Any], signature: inspect.Signature) -> Callable[..., None]:
    """Return the task's `__header__`, as in Celery: it raises TypeError for arguments that `function` can't take."""

    @functools.wraps(function)
    def header(*args: Any, **kwargs: Any) -> None:
        signature.bind(*args, **kwargs)

    header.__signature__ = signature  # type: ignore[attr-defined]
    return header
