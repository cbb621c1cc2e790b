"""Give context activities the registry of their application, so that a Temporal worker can run them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from typing import Any

from temporalio import activity as temporal

from .activity import definition_of, first_parameter
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
    _hide_context(bound, fn)
    return temporal.defn(name=definition.name, no_thread_cancel_exception=definition.no_thread_cancel_exception)(bound)


def in_unit_of_work(registry: Any, fn: Callable[..., Any], *, passes_context: bool) -> Callable[..., Any]:
    """Return a function that calls `fn` in a unit of work; `passes_context` gives it the context as first argument."""
    if is_async(fn):

        async def run_on_loop(*args: Any) -> Any:
            with closing(UnitOfWork(registry, on_event_loop=True)) as unit, unit as context:
                return await fn(*((context, *args) if passes_context else args))

        return run_on_loop

    def run_on_thread(*args: Any) -> Any:
        with closing(UnitOfWork(registry, on_event_loop=False)) as unit, unit as context:
            return fn(*((context, *args) if passes_context else args))

    return run_on_thread


def is_async(fn: Callable[..., Any]) -> bool:
    """Return whether a call gives a coroutine: of a function, or of an object with `async def __call__`."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__)


def _hide_context(bound: Any, fn: Callable[..., Any]) -> None:
    """Give `bound` the name, the parameters and the types of `fn`, without the context."""
    context = first_parameter(fn)
    signature = inspect.signature(fn)
    bound.__signature__ = signature.replace(
        parameters=[parameter for parameter in signature.parameters.values() if parameter != context]
    )
    bound.__annotations__ = {
        name: hint for name, hint in typing.get_type_hints(fn).items() if context is None or name != context.name
    }
    bound.__name__, bound.__qualname__, bound.__doc__ = fn.__name__, fn.__qualname__, fn.__doc__


def refuse_processes(executor: Executor, activities: Sequence[Callable[..., Any]]) -> None:
    """Raise if `def` context activities would run in other processes, where they have no registry."""
    if isinstance(executor, ThreadPoolExecutor):
        return
    for fn in activities:
        if (definition := definition_of(fn)) is not None and not is_async(fn):
            raise TypeError(
                f"activity {definition.name!r} takes an ActivityContext and can't run in "
                f"{type(executor).__name__}: the registry exists in this process only; pass a ThreadPoolExecutor as "
                "activity_executor, or none"
            )
