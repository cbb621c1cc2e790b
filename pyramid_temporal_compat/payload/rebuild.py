"""Converters from JSON's plain values to the type of one annotation.

An annotation that plain values already satisfy has none.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import types
import typing
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Union, get_args, get_origin

from .bounds import OutOfBounds, refuse_alike, refuse_alike_numbers
from .hints import hints_of
from .types import dumps, hashable, is_pydantic_model, read_datetime

Converter = Callable[[Any], Any]
"""A function that returns the converted value or raises `Misfit`."""


WHY_LIMIT = 2000
"""Characters of an error's reason. In nested unions each level would repeat the level below it twice."""


class Misfit(Exception):
    """The value does not fit the annotation. `serious`: the caller raises an error."""

    def __init__(self, why: str = "", serious: bool = False) -> None:
        self.why = why if len(why) <= WHY_LIMIT else f"{why[:WHY_LIMIT]}..."
        self.serious = serious


def converter_for(annotation: Any) -> Converter | None:
    """Return the converter for an annotation, or None if JSON's own value already fits."""
    annotation = _bare(annotation)
    origin = get_origin(annotation)
    if origin is Union or origin is types.UnionType:
        return _union(get_args(annotation))
    cls = origin or annotation
    if not isinstance(cls, type):
        return None
    if cls.__module__ == "freezegun.api":
        cls = cls.__mro__[1]  # a stand-in for datetime or date; this plan outlives the frozen time
    arguments = get_args(annotation)
    if dataclasses.is_dataclass(cls):
        return None if hasattr(cls, "__mapper__") else functools.partial(_to_dataclass, cls)
    if is_pydantic_model(cls):
        # a generic model with arguments is a class of its own
        return functools.partial(_to_model, annotation if isinstance(annotation, type) else cls)
    if issubclass(cls, enum.Enum):
        return functools.partial(_to_enum, cls)
    if cls in _FROM_TEXT:
        return functools.partial(_from_text, cls, _FROM_TEXT[cls])
    return _container(cls, arguments)


def _bare(annotation: Any) -> Any:
    """Return the annotation without Annotated, NewType and `type X = ...`."""
    while True:
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif _is_alias(annotation):
            annotation = Any if _recurs(annotation, ()) else annotation.__value__
        else:
            return annotation


def _is_alias(annotation: Any) -> bool:
    return type(annotation).__name__ == "TypeAliasType"  # in typing from 3.12 on, in typing_extensions before


def _recurs(annotation: Any, above: tuple[Any, ...]) -> bool:
    """Return whether an alias such as `type Json = list[Json] | str` contains itself or can't be evaluated."""
    if _is_alias(annotation):
        if annotation in above:
            return True
        try:
            return _recurs(annotation.__value__, (*above, annotation))
        except NameError:
            return True
    return any(_recurs(argument, above) for argument in get_args(annotation))


_PLAIN = (str, int, float, bool, type(None))


def _union(members: tuple[Any, ...]) -> Converter | None:
    """Return the converter of a union. A member that the value already is wins: in `str | UUID`, text stays text."""
    plain = tuple(member for member in map(_bare, members) if member in _PLAIN)
    loose = [member for member in map(_bare, members) if member not in _PLAIN]
    converters = [converter for converter in map(converter_for, loose) if converter is not None]
    if not converters:
        return None
    takes_anything = len(converters) < len(loose)  # such as dict, or Any, beside a model

    def convert(value: Any) -> Any:
        if isinstance(value, plain) and not (isinstance(value, bool) and bool not in plain):
            return value
        known = _misfits.get()
        if known is None:
            return fitted(value)
        if (key := (id(members), id(value))) in known:
            raise known[key][0]
        try:
            return fitted(value)
        except Misfit as misfit:
            known[key] = misfit, value  # which keeps the value, and so its id
            raise

    def fitted(value: Any) -> Any:
        misfits = []
        for converter in converters:
            try:
                return converter(value)
            except Misfit as misfit:
                misfits.append(misfit)
        serious = [misfit for misfit in misfits if misfit.serious]
        if takes_anything or not serious:
            raise Misfit
        raise Misfit("; nor ".join(misfit.why for misfit in serious), serious=True) from serious[0].__cause__

    return convert


_misfits: ContextVar[dict[tuple[int, int], tuple[Misfit, Any]] | None] = ContextVar("ptemporal_misfits", default=None)
"""By union and value, within one rebuilding: members that hold the same union would each try what is below anew, and
twenty levels of that take days."""


@contextmanager
def once_each() -> Iterator[None]:
    """Make sure that no union converts the same value twice within this context."""
    token = _misfits.set({})
    try:
        yield
    finally:
        _misfits.reset(token)


def _each(converter: Converter | None, values: Sequence[Any]) -> list[Any]:
    if converter is None:
        return list(values)
    made = []
    for index, value in enumerate(values):
        try:
            made.append(converter(value))
        except Misfit as misfit:
            if misfit.serious:
                raise Misfit(f"[{index}] {misfit.why}", serious=True) from misfit.__cause__
            made.append(value)
    return made


# --- classes ---------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _fields(cls: Any) -> tuple[dict[str, tuple[bool, Converter | None]], list[str]]:
    """Return for each field whether `__init__` takes it, and its converter, and the set of required fields."""
    hints = hints_of(cls)
    fields = {field.name: (field.init, converter_for(hints.get(field.name))) for field in dataclasses.fields(cls)}
    required = [
        field.name
        for field in dataclasses.fields(cls)
        if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    return fields, required


def _to_dataclass(cls: type[Any], value: Any) -> Any:
    if not isinstance(value, dict):
        raise _not_a(cls, value)
    fields, required = _fields(typing.cast("typing.Hashable", cls))
    missing = [name for name in required if name not in value]
    unknown = [name for name in value if name not in fields]
    if missing or unknown:
        wrong = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has {', '.join(unknown)}"] * bool(unknown)
        raise Misfit(f"can't be read as {cls.__qualname__}: it {' and '.join(wrong)}", serious=True)
    made = {}
    for name, member in value.items():
        converter = fields[name][1]
        try:
            made[name] = converter(member) if converter else member
        except Misfit as misfit:
            if misfit.serious:
                raise Misfit(f".{name} {misfit.why}", serious=True) from misfit.__cause__
            made[name] = member
    try:
        built = cls(**{name: member for name, member in made.items() if fields[name][0]})
        for name, member in made.items():
            if not fields[name][0]:
                object.__setattr__(built, name, member)
    except Exception as error:
        raise Misfit(f"can't be read as {cls.__qualname__}: {type(error).__name__}: {error}", serious=True) from error
    return built


def _to_model(cls: Any, value: Any) -> Any:
    if value is None or isinstance(value, cls) or not isinstance(value, (dict, list, str, int, float)):
        raise Misfit
    _within_bounds(lambda: refuse_alike_numbers(value))
    try:
        return cls.model_validate(value)
    except ValueError as error:
        problem = error
    # What model_dump(mode="json") wrote: names where there are aliases, and text where a strict model wants a UUID.
    try:
        return cls.model_validate_json(dumps(value), **_by_name(cls))
    except (ValueError, TypeError):
        raise Misfit(f"can't be read as {cls.__qualname__}: {problem}", serious=True) from problem


@functools.lru_cache(maxsize=1)
def _takes_by_name(validate: Any) -> bool:
    return "by_name" in inspect.signature(validate).parameters


def _by_name(cls: Any) -> dict[str, bool]:
    # from pydantic 2.11 on
    return {"by_name": True, "by_alias": True} if _takes_by_name(cls.model_validate_json.__func__) else {}


def _to_enum(cls: type[enum.Enum], value: Any) -> Any:
    if isinstance(value, cls):
        return value
    for candidate in (value, hashable(value)):  # a member whose value is a tuple came as a list
        try:
            return cls(candidate)
        except (ValueError, TypeError, KeyError):
            pass
    raise Misfit


def _from_text(cls: type[Any], read: Converter, value: Any) -> Any:
    if not isinstance(value, str):
        raise Misfit
    try:
        return read(value)
    except (ValueError, ArithmeticError) as error:
        raise Misfit from error


_FROM_TEXT: dict[type[Any], Converter] = {
    uuid.UUID: uuid.UUID,
    datetime: read_datetime,
    date: date.fromisoformat,
    time: time.fromisoformat,
    Decimal: Decimal,
}


def _not_a(cls: type[Any], value: Any) -> Misfit:
    """Only JSON's own values are judged: a real object was put there by who knows what it is, a None by a default."""
    if value is None or not isinstance(value, (list, str, int, float)):
        return Misfit()
    return Misfit(f"can't be read as {cls.__qualname__}: {value!r:.200} is a {type(value).__name__}", serious=True)


# --- containers ------------------------------------------------------------------------------------


def _container(cls: type[Any], arguments: tuple[Any, ...]) -> Converter | None:
    if cls in (list, collections.abc.Sequence, collections.abc.MutableSequence) or (
        cls in (collections.abc.Iterable, collections.abc.Collection)
    ):
        member = converter_for(arguments[0]) if arguments else None
        return functools.partial(_to_list, member) if member else None
    if cls in _SETS:
        return functools.partial(_to_set, _SETS[cls], converter_for(arguments[0]) if arguments else None)
    if cls is tuple:
        return _tuple(arguments)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return functools.partial(_to_named_tuple, cls)
    if cls in (dict, collections.abc.Mapping, collections.abc.MutableMapping) and len(arguments) == 2:
        keys, members = _KEYS.get(arguments[0]) or converter_for(arguments[0]), converter_for(arguments[1])
        return functools.partial(_to_dict, keys, members) if keys or members else None
    return None


_SETS: dict[type[Any], Callable[[list[Any]], Any]] = {
    set: set,
    frozenset: frozenset,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}


def _to_list(member: Converter, value: Any) -> Any:
    if not isinstance(value, list):
        raise Misfit
    return _each(member, value)


def _to_set(make: Callable[[list[Any]], Any], member: Converter | None, value: Any) -> Any:
    if not isinstance(value, (list, set, frozenset)):
        raise Misfit
    try:
        members = [hashable(made) for made in _each(member, list(value))]
        _within_bounds(lambda: refuse_alike(members))
        return make(members)
    except TypeError as error:
        raise Misfit from error


def _within_bounds(check: Callable[[], None]) -> None:
    """Raise a serious `Misfit` if the check finds members that would take too long to be put into a set or dict."""
    try:
        check()
    except OutOfBounds as error:
        raise Misfit(f"can't be read: {error}", serious=True) from error


def _tuple(arguments: tuple[Any, ...]) -> Converter:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        member = converter_for(arguments[0])
        return lambda value: tuple(_each(member, _list(value)))
    members = None if not arguments else [converter_for(argument) for argument in arguments if argument != ()]

    def convert(value: Any) -> Any:
        values = _list(value)
        if members is None:
            return tuple(values)
        return tuple(_positions(members, values))

    return convert


def _to_named_tuple(cls: Any, value: Any) -> Any:
    hints = hints_of(cls)
    return cls(*_positions([converter_for(hints.get(name)) for name in cls._fields], _list(value)))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Misfit
    return value


def _positions(converters: list[Converter | None], values: list[Any]) -> list[Any]:
    if len(values) != len(converters):
        raise Misfit
    return [_each(converter, [value])[0] for converter, value in zip(converters, values, strict=True)]


def _to_dict(keys: Converter | None, members: Converter | None, value: Any) -> Any:
    if not isinstance(value, dict):
        raise Misfit
    pairs = []
    for key, member in value.items():
        try:
            new = _each(members, [member])[0]
        except Misfit as misfit:
            raise Misfit(f"[{key!r}]{misfit.why.removeprefix('[0]')}", serious=True) from misfit.__cause__
        pairs.append((_each(keys, [key])[0], new))
    _within_bounds(lambda: refuse_alike([key for key, _ in pairs]))
    return dict(pairs)


def _number_key(cls: type[Any], key: Any) -> Any:
    """Read a number from a key, because JSON's keys are strings. Accept only the spelling that we write."""
    try:
        number = cls(key) if isinstance(key, str) else key
    except ValueError as error:
        raise Misfit from error
    if isinstance(key, str) and repr(number) != key:
        raise Misfit
    return number


_KEYS: dict[Any, Converter] = {
    int: functools.partial(_number_key, int),
    float: functools.partial(_number_key, float),
}
