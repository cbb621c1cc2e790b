"""Turn values that came as plain JSON into the types that a function's annotations name.

For each annotation a converter is made once. A function whose annotations ask for nothing has no plan, and costs
nothing. Annotations are the application's promises, not ours. So a value that does not fit its annotation stays as it
is. Only a value for a dataclass or a pydantic model must fit, because the task would fail on it later.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..exceptions import InvalidArguments
from .hints import hints_of
from .rebuild import Converter, Misfit, converter_for, once_each


def rebuild_value(annotation: Any, value: Any) -> Any:
    """Return `value` as the type `annotation`. Raise `InvalidArguments` if it does not fit a dataclass or model."""
    converter = converter_for(annotation)
    if converter is None:
        return value
    try:
        with once_each():
            return converter(value)
    except Misfit as misfit:
        if misfit.serious:
            raise InvalidArguments(f"a value {misfit.why}") from misfit.__cause__
        return value


@dataclass(frozen=True)
class ArgumentPlan:
    """The converters for the arguments of one function."""

    name: str
    positional: tuple[tuple[str, Converter | None], ...]
    more_positional: Converter | None
    named: Mapping[str, Converter]
    more_named: Converter | None

    def rebuild(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        with once_each():
            return self._rebuild(args, kwargs)

    def _rebuild(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        known = len(self.positional)
        return (
            tuple(
                self._one(*self.positional[index], value)
                if index < known
                else self._one(f"{index}", self.more_positional, value)
                for index, value in enumerate(args)
            ),
            {name: self._one(name, self.named.get(name, self.more_named), value) for name, value in kwargs.items()},
        )

    def _one(self, name: str, converter: Converter | None, value: Any) -> Any:
        if converter is None:
            return value
        try:
            return converter(value)
        except Misfit as misfit:
            if misfit.serious:
                raise InvalidArguments(f"argument {name!r} of {self.name} {misfit.why}") from misfit.__cause__
            return value


def rebuild_arguments(
    function: Callable[..., Any] | inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return `args` and `kwargs` converted to the types of the annotations of `function`.

    A bound method's `self` is not among the arguments. Raises `InvalidArguments`, which names the argument, where a
    dataclass or pydantic model can't be made from what came.
    """
    plan = plan_for(function)
    return plan.rebuild(args, kwargs) if plan else (tuple(args), dict(kwargs))


def plan_for(function: Callable[..., Any] | inspect.Signature) -> ArgumentPlan | None:
    """Return a function's plan, which is made once, or None if no argument needs a conversion."""
    if isinstance(function, inspect.Signature):
        return _make_plan("the task", function, {})
    bound = inspect.ismethod(function)
    key: Any = function.__func__ if isinstance(function, types.MethodType) else function
    try:
        return _plans[key][bound]
    except (KeyError, TypeError):
        pass
    plan = _plan_of_callable(function)
    with contextlib.suppress(TypeError):  # it takes no weak reference, or has no hash: made anew each time
        _plans.setdefault(key, {})[bound] = plan
    return plan


_plans: weakref.WeakKeyDictionary[Any, dict[bool, ArgumentPlan | None]] = weakref.WeakKeyDictionary()


def _plan_of_callable(function: Callable[..., Any]) -> ArgumentPlan | None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None  # written in C
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    return _make_plan(name.lstrip("."), signature, hints_of(_annotated(function)))


def _make_plan(name: str, signature: inspect.Signature, hints: Mapping[str, Any]) -> ArgumentPlan | None:
    positional: list[tuple[str, Converter | None]] = []
    named: dict[str, Converter] = {}
    more: dict[Any, Converter | None] = {}
    found = False
    for parameter in signature.parameters.values():
        converter = converter_for(hints.get(parameter.name, parameter.annotation))
        found = found or converter is not None
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            more[parameter.kind] = converter
            continue
        if parameter.kind is not parameter.KEYWORD_ONLY:
            positional.append((parameter.name, converter))
        if parameter.kind is not parameter.POSITIONAL_ONLY:
            named[parameter.name] = converter or _as_it_is
    if not found:
        return None
    return ArgumentPlan(
        name,
        tuple(positional),
        more.get(inspect.Parameter.VAR_POSITIONAL),
        named,
        more.get(inspect.Parameter.VAR_KEYWORD),
    )


def _annotated(function: Any) -> Any:
    """Return the function that has the annotations: inside partials, wrappers and methods, or a class's `__call__`."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, (types.FunctionType, type)):
            return function
        elif isinstance(type(function).__call__, types.FunctionType):
            return type(function).__call__
        else:
            return function


def _as_it_is(value: Any) -> Any:
    return value
