"""Give context activities the registry of their application, so that a Temporal worker can run them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

from temporalio import activity as temporal

from .activity import ContextDefinition, definition_of, first_parameter
from .unit_of_work import UnitOfWork


def bound_activities(registry: Any, activities: Sequence[Callable[..., Any]]) -> list[Callable[..., Any]]:
    """Return the activities for a Temporal worker: context activities bound to `registry`, all others as they are."""
    return [bound_activity(registry, fn) for fn in activities]


def bound_activity(registry: Any, fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return an activity for a Temporal worker. It has the name, the parameters and the types that callers see."""
    definition = definition_of(fn)
    if definition is None:
        return fn
    bound = in_unit_of_work(registry, fn, passes_context=True)
    _look_like(bound, fn, definition)
    return temporal.defn(name=definition.name, no_thread_cancel_exception=definition.no_thread_cancel_exception)(bound)


def in_unit_of_work(registry: Any, fn: Callable[..., Any], *, passes_context: bool) -> Callable[..., Any]:
    """Return a function that calls `fn` in a unit of work; `passes_context` gives it the context as first argument."""
    if inspect.iscoroutinefunction(fn):

        async def run_on_loop(*args: Any) -> Any:
            with UnitOfWork(registry, on_event_loop=True) as context:
                return await fn(*((context, *args) if passes_context else args))

        return run_on_loop

    def run_on_thread(*args: Any) -> Any:
        with UnitOfWork(registry, on_event_loop=False) as context:
            return fn(*((context, *args) if passes_context else args))

    return run_on_thread


def _look_like(bound: Any, fn: Callable[..., Any], definition: ContextDefinition) -> None:
    """Give `bound` the name and the signature of `fn`, without the context."""
    context = first_parameter(fn)
    signature = inspect.signature(fn)
    parameters = [
        parameter for parameter in signature.parameters.values() if context is None or parameter.name != context.name
    ]
    hints = typing.get_type_hints(fn)
    if context is not None:
        hints.pop(context.name, None)
    bound.__signature__ = signature.replace(parameters=parameters)
    bound.__annotations__ = hints
    bound.__name__ = bound.__qualname__ = definition.name
    bound.__module__ = fn.__module__
    bound.__doc__ = fn.__doc__
