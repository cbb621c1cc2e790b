"""Reads the arguments of a command line by the annotations of the function that gets them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.converter import JSONTypeConverter, value_to_type

from ..exceptions import InvalidArguments
from ..payload.hints import hints_of


@dataclass(frozen=True)
class Given:
    """The arguments of a command line, as they were written."""

    args: Sequence[str] = ()
    """Words, one for each argument in its order."""
    kwargs: Sequence[str] = ()
    """Words `name=value`."""
    inputs: Sequence[str] = ()
    """JSON texts, one for each argument in its order."""


@dataclass(frozen=True)
class Callee:
    """What gets the arguments: its name for errors, its parameters without `self`, and their types."""

    name: str
    parameters: Sequence[inspect.Parameter]
    hints: Mapping[str, Any]

    @classmethod
    def method(cls, name: str, function: Callable[..., Any]) -> Callee:
        """Return the callee that a method of a workflow is."""
        return cls(name, list(inspect.signature(function).parameters.values())[1:], hints_of(function))

    @classmethod
    def task(cls, task: Any) -> Callee:
        """Return the callee that a task is."""
        return cls(task.name, list(task.__signature__.parameters.values()), hints_of(task.__wrapped__))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(self._shown, self.parameters))})"

    def _shown(self, parameter: inspect.Parameter) -> str:
        hint = self.hints.get(parameter.name)
        kind = "" if hint is None else f": {hint.__name__ if isinstance(hint, type) else hint}"
        default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
        return f"{parameter.name}{kind}{default}"


class PydanticModels(JSONTypeConverter):
    """Checks values for pydantic's models by their own validation."""

    def to_typed_value(self, hint: type, value: Any) -> Any:
        validate = getattr(hint, "model_validate", None) if inspect.isclass(hint) else None
        return JSONTypeConverter.Unhandled if validate is None else validate(value)


CONVERTERS = (PydanticModels(),)


def read(callee: Callee, given: Given) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments and keyword arguments. Raise if a value does not fit its parameter's annotation.

    The values are what JSON has: the worker that runs the function makes its types of them.
    """
    if given.inputs and (given.args or given.kwargs):
        raise InvalidArguments("--input gives all arguments, as JSON; it does not go with --args and --kwargs")
    names = [each.name for each in callee.parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    words = [*given.inputs, *given.args]
    readings = _json_alone if given.inputs else _json_or_text
    # A call with too many words is refused by the one who binds them to the signature, with all of them in sight.
    places = [*names, *[""] * len(words)]
    args = [_value(callee, name, word, readings) for name, word in zip(places, words, strict=False)]
    kwargs: dict[str, Any] = {}
    for word in given.kwargs:
        name, equals, text = word.partition("=")
        if not equals:
            raise InvalidArguments(f"--kwargs {word}: it takes name=value")
        kwargs[name] = _value(callee, name, text, _json_or_text)
    return args, kwargs


def in_order(callee: Callee, given: Given) -> list[Any]:
    """Return a value for each parameter, in their order: Temporal knows no keyword arguments.

    Defaults are sent, too. A worker uses the annotations only if it gets as many values as there are parameters.
    """
    args, kwargs = read(callee, given)
    try:
        bound = inspect.Signature(list(callee.parameters)).bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidArguments(f"{callee}: {error}") from None
    bound.apply_defaults()
    return list(bound.args)


def of_unknown(name: str, given: Given) -> list[Any]:
    """Return the arguments of a workflow, signal, query or update that this application does not define."""
    args, kwargs = read(Callee(name, (), {}), given)
    if kwargs:
        raise InvalidArguments(
            f"--kwargs {given.kwargs[0]}: {name} is not defined in this application, so the order of its parameters is "
            "not known; give the values in their order, with --args or --input"
        )
    return args


def _value(callee: Callee, name: str, text: str, readings: Callable[[str], list[Any]]) -> Any:
    """Return the first reading of `text` that fits the parameter's annotation."""
    hint = callee.hints.get(name, Any)
    reasons = []
    for value in [text] if hint is str and readings is _json_or_text else readings(text):
        try:
            typed: Any = value_to_type(hint, value, CONVERTERS)
            if type(typed) is int and typed != value:
                raise ValueError("a fraction would be cut off")
            return value
        except Exception as error:  # also the errors of pydantic, and of classes of the application
            reasons.append(" ".join(str(error).split()))
    raise InvalidArguments(f"{callee}: {text!r} is no value for {name!r}: {reasons[0]}")


def _json_or_text(word: str) -> list[Any]:
    try:
        return [json.loads(word), word]
    except ValueError:
        return [word]


def _json_alone(text: str) -> list[Any]:
    try:
        return [json.loads(text)]
    except ValueError as error:
        raise InvalidArguments(f"--input {text!r} is no JSON: {error}; a text needs quotes: '\"text\"'") from None
