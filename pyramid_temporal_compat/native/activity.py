"""temporalio's `activity`, for Pyramid applications: `from pyramid_temporal_compat import activity`.

Every public name is temporalio's own, except `defn`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Protocol, TypeVar, cast, overload

from temporalio import activity as _temporal
from temporalio.activity import (
    ActivityCancellationDetails,
    Info,
    LoggerAdapter,
    cancellation_details,
    client,
    heartbeat,
    in_activity,
    info,
    is_cancelled,
    is_worker_shutdown,
    logger,
    metric_meter,
    payload_converter,
    raise_complete_async,
    shield_thread_cancel_exception,
    wait_for_cancelled,
    wait_for_cancelled_sync,
    wait_for_worker_shutdown,
    wait_for_worker_shutdown_sync,
)

from .context import ActivityContext

if TYPE_CHECKING:
    from typing_extensions import ParamSpec
else:
    from typing import ParamSpec

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])


class ContextActivity(Protocol[P, R_co]):
    """A context activity, as a type checker sees it.

    Code that tests the activity calls it with a context. `workflow.execute_activity` sees the other arguments only.
    """

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, context: ActivityContext, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Decorator(Protocol):
    """What `defn(name=…)` returns."""

    @overload
    def __call__(self, fn: Callable[Concatenate[ActivityContext, P], R], /) -> ContextActivity[P, R]: ...
    @overload
    def __call__(self, fn: AnyCallable, /) -> AnyCallable: ...


@dataclass(frozen=True)
class ContextDefinition:
    """What `defn` was given for a context activity."""

    name: str
    no_thread_cancel_exception: bool


DEFINITION = "__ptemporal_context_activity__"
"""The attribute of a context activity that holds its `ContextDefinition`."""


@overload
def defn(fn: Callable[Concatenate[ActivityContext, P], R], /) -> ContextActivity[P, R]: ...
@overload
def defn(fn: AnyCallable, /) -> AnyCallable: ...
@overload
def defn(*, name: str | None = None, no_thread_cancel_exception: bool = False, dynamic: bool = False) -> Decorator: ...
def defn(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
) -> Any:
    """Make a function, `def` or `async def`, an activity.

    If its first parameter is annotated as `ActivityContext`, it is a context activity: a worker gives it a context, and
    callers give the other arguments. Any other function is what temporalio makes of it.

    :param name: the activity's name on the server. By default, it is the function's name.
    :param no_thread_cancel_exception: raise no exception in a `def` activity that is cancelled.
    :param dynamic: run every activity whose name no other activity of the worker has. It gets no context.
    """

    temporal_defn: Any = _temporal.defn  # its overloads know no call with all three options

    def decorate(fn: Callable[..., Any]) -> Any:
        if takes_context(fn):
            if dynamic:
                raise TypeError(
                    f"activity {fn.__name__!r} takes an ActivityContext and can't be dynamic; remove one of both"
                )
            setattr(fn, DEFINITION, ContextDefinition(name or fn.__name__, no_thread_cancel_exception))
        # Workflow code names a context activity by this function, too: temporalio reads its name and its result type.
        return temporal_defn(name=name, no_thread_cancel_exception=no_thread_cancel_exception, dynamic=dynamic)(fn)

    return decorate if fn is None else decorate(fn)


def takes_context(fn: Callable[..., Any]) -> bool:
    """Return whether the first parameter, after the `self` of a method, is annotated as `ActivityContext`."""
    parameter = first_parameter(fn) if inspect.isroutine(fn) else None
    if parameter is None:
        return False
    if parameter.annotation is inspect.Parameter.empty:
        refuse_unclear(fn, parameter)
    hint = typing.get_type_hints(fn).get(parameter.name)
    return isinstance(hint, type) and issubclass(hint, ActivityContext)


def first_parameter(fn: Callable[..., Any]) -> inspect.Parameter | None:
    """Return the first parameter, without the `self` of a method; None if there is none."""
    parameters = list(inspect.signature(fn).parameters.values())
    if parameters and parameters[0].name == "self" and parameters[0].annotation is inspect.Parameter.empty:
        del parameters[0]
    return parameters[0] if parameters else None


def refuse_unclear(fn: Callable[..., Any], parameter: inspect.Parameter) -> None:
    """Raise if a parameter without annotation has the name that every example gives to the context."""
    if parameter.name == "context":
        raise TypeError(
            f"activity {fn.__name__!r}: does its parameter `context` get an ActivityContext? If so, write "
            "`context: ActivityContext`; else give it another name or another annotation"
        )


def definition_of(fn: Callable[..., Any]) -> ContextDefinition | None:
    """Return the definition of a context activity; None for every other activity."""
    return cast("ContextDefinition | None", getattr(fn, DEFINITION, None))


__all__ = [
    "ActivityCancellationDetails",
    "ActivityContext",
    "Info",
    "LoggerAdapter",
    "cancellation_details",
    "client",
    "defn",
    "heartbeat",
    "in_activity",
    "info",
    "is_cancelled",
    "is_worker_shutdown",
    "logger",
    "metric_meter",
    "payload_converter",
    "raise_complete_async",
    "shield_thread_cancel_exception",
    "wait_for_cancelled",
    "wait_for_cancelled_sync",
    "wait_for_worker_shutdown",
    "wait_for_worker_shutdown_sync",
]
