"""Exceptions on the wire: written as plain data, and rebuilt as their own class where that is safe.

Anyone who can write to the server may have written the data. `error_classes` says which class is used.
"""

from __future__ import annotations

import builtins
import functools
import json
import reprlib
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..exceptions import SecurityError
from ..log_lines.text_safety import one_line
from .error_classes import find_class, is_only_an_error, make, restore, set_attribute, stand_in
from .types import dumps, loads

TEXT_LIMIT = 10_000
TRACEBACK_LIMIT = 50_000
VALUE_LIMIT = 20_000
CHAIN_LIMIT = 5
ERROR_LIMIT = 500_000
"""Limits that keep an error far below the server's limit, even if the exception holds large values."""

Wire = dict[str, Any]

_group = getattr(builtins, "BaseExceptionGroup", None)  # from Python 3.11 on


class RemoteTraceback(Exception):
    """The cause of a rebuilt error. Printing the error then shows the traceback of the process that raised it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


# --- to the wire -----------------------------------------------------------------------------------


def to_wire(error: BaseException) -> Wire:
    """Return the error as data that `types.dumps` can write. Never raise, even if the error's own methods raise."""
    wire = _describe(error, CHAIN_LIMIT)
    if len(dumps(wire)) > ERROR_LIMIT:
        wire = {name: wire[name] for name in ("module", "type", "text")}
        wire["args"] = [{"value": wire["text"]}]
    wire["traceback"] = _shorten(_safely(lambda: formatted(error), wire["text"]), TRACEBACK_LIMIT)
    return wire


def fitting(wire: Wire, limit: int) -> Wire:
    """Return the error, as `to_wire` wrote it, in at most `limit` bytes and without its traceback.

    It loses its cause and context first, then its attributes and the errors in its arguments, and its arguments last.
    """
    whole = {name: value for name, value in wire.items() if name != "traceback"}
    alone = {name: value for name, value in whole.items() if name not in ("cause", "context")}
    text = shorten_to_bytes(str(wire.get("text")), limit // 8)
    named = {"module": wire.get("module"), "type": wire.get("type"), "text": text}
    parts: Wire = {name: list(map(_as_text, wire[name])) for name in ("args", "call") if name in wire}
    for candidate in (whole, alone, {**named, **parts}):
        if len(dumps(candidate)) <= limit:
            return candidate
    return {**named, "args": [{"value": text}]}


def _as_text(value: Wire) -> Wire:
    """Return the value; for an error its type and text."""
    error = value.get("error")
    if not isinstance(error, Mapping):
        return value
    return {"value": _shorten(f"{error.get('type')}: {error.get('text')}", 200)}


def shorten_to_bytes(text: str, limit: int, gap: str = " ... ") -> str:
    """Return the text in at most `limit` bytes of UTF-8: its beginning, `gap` and its end, if it has more."""
    data = _clean(text).encode()
    if len(data) <= limit:
        return text
    half = (limit - len(gap)) // 2
    return f"{data[:half].decode(errors='ignore')}{gap}{data[-half:].decode(errors='ignore')}"


def _describe(error: BaseException, depth: int) -> Wire:
    cls = type(error)
    wire: Wire = {
        "module": _clean(str(cls.__module__)),
        "type": _clean(cls.__qualname__),
        "text": _shorten(_safely(lambda: str(error), f"<unprintable {cls.__name__}>"), TEXT_LIMIT),
    }
    args = _safely(lambda: tuple(error.args), ())
    wire["args"] = _values(args, depth)
    if _group is not None and isinstance(error, _group):
        wire["args"] = _values(args[:1], depth)
        wire["exceptions"] = [_describe(member, depth - 1) for member in error.exceptions[:100]] if depth else []
    made_by = _safely(lambda: _made_by(error), None)
    if made_by is not None:
        call, kwargs, state = made_by
        if _safely(lambda: call != args, True) and "exceptions" not in wire:
            wire["call"] = _values(call, depth)
        if kwargs:
            wire["kwargs"] = {_clean(name): _value(value, depth) for name, value in kwargs.items()}
        if _refuses(cls, call, kwargs):
            wire["not_callable"] = True
    else:
        state = _safely(lambda: dict(vars(error)), {})
    state = {**_slots_of(error), **state}
    kept = {_clean(str(name)): _value(value, depth) for name, value in state.items() if name not in _NOT_STATE}
    wire["state"] = {name: value for name, value in kept.items() if "repr" not in value}
    notes = _safely(lambda: getattr(error, "__notes__", None), None)
    if isinstance(notes, (list, tuple)):
        wire["notes"] = [_shorten(_safely(functools.partial(str, note), "?"), TEXT_LIMIT) for note in notes[:20]]
    _describe_chain(error, wire, depth)
    return wire


_NOT_STATE = frozenset({"__notes__", "remote_traceback", "remote_text"})


def _describe_chain(error: BaseException, wire: Wire, depth: int) -> None:
    if not depth:
        return
    cause, context = error.__cause__, error.__context__
    if cause is not None and not isinstance(cause, RemoteTraceback):
        wire["cause"] = _describe(cause, depth - 1)
    elif context is not None and not error.__suppress_context__:
        wire["context"] = _describe(context, depth - 1)


def _made_by(error: BaseException) -> tuple[tuple[Any, ...], Mapping[str, Any], Mapping[str, Any]] | None:
    """Return the arguments, keywords and attributes by which pickle would rebuild the error, if it calls the class."""
    reduced = error.__reduce_ex__(2)
    if not isinstance(reduced, tuple) or len(reduced) < 2:
        return None
    make: Any = reduced[0]
    args, state = reduced[1], reduced[2] if len(reduced) > 2 else None
    kwargs: Mapping[str, Any] = {}
    if isinstance(make, functools.partial):
        make, args, kwargs = make.func, (*make.args, *args), make.keywords
    if make is not type(error) or not isinstance(state, (dict, types.NoneType)):
        return None
    return tuple(args), kwargs, {**vars(error), **(state or {})}


def _refuses(cls: type[BaseException], call: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether pickle could not rebuild the error, because its class does not take these arguments.

    Only the process that raised the error asks this. A reader never calls a class that a message names.
    """
    try:
        cls(*call, **kwargs)
    except Exception:
        return True
    return False


def _slots_of(error: BaseException) -> dict[str, Any]:
    """Return the attributes that the error's classes keep in `__slots__`."""
    slots = {name: slot for base in type(error).__mro__ for name, slot in vars(base).items()}
    found = {name for name, slot in slots.items() if isinstance(slot, types.MemberDescriptorType)}
    own = {name for name in found if slots[name].__objclass__.__module__ != "builtins"}
    return {name: getattr(error, name) for name in own if hasattr(error, name)}


def _values(values: Sequence[Any], depth: int) -> list[Wire]:
    return [_value(value, depth) for value in values]


def _value(value: Any, depth: int) -> Wire:
    """Return `{"value": ...}`, `{"tuple": [...]}` or `{"error": ...}`, or `{"repr": ...}` if it can't travel."""
    if type(value) is tuple and depth:
        return {"tuple": _values(value, depth - 1)}
    if isinstance(value, BaseException):
        return {"error": _describe(value, depth - 1)} if depth else _repr(value)
    try:
        data = dumps(value)
        return {"value": loads(data)} if len(data) <= VALUE_LIMIT else _repr(value)
    except Exception:
        return _repr(value)


def _repr(value: Any) -> Wire:
    return {"repr": _shorten(_safely(lambda: repr(value), f"<unprintable {type(value).__qualname__}>"), TEXT_LIMIT)}


def formatted(error: BaseException) -> str:
    """Return the error and its traceback as Python writes them."""

    def written() -> str:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))

    try:
        return written()
    except SystemError:  # Python 3.11 raises it now and then, if two threads format tracebacks at the same moment
        return written()


def _safely(make: Callable[[], Any], otherwise: Any) -> Any:
    try:
        return make()
    except Exception:
        return otherwise


def _clean(text: str) -> str:
    """Escape lone surrogates, which UTF-8 can't express. File names bring them into messages."""
    return text.encode("utf-8", "backslashreplace").decode()


def _shorten(text: str, limit: int) -> str:
    text = _clean(text)
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n... {len(text) - limit:,} characters left out ...\n{text[-(limit // 2) :]}"


# --- and back --------------------------------------------------------------------------------------


def from_wire(wire: Mapping[str, Any]) -> BaseException:
    """Rebuild an error: of its own class if that is loaded and only an error, else of a new class of the same name.

    The error gets its text, arguments, attributes, notes, cause, context, and a `remote_traceback`. If the name leads
    to something that is no exception class, the function returns a `SecurityError`.
    """
    text = wire.get("traceback")
    error = _rebuild(wire, CHAIN_LIMIT)
    if isinstance(text, str) and text:
        set_attribute(error, "remote_traceback", text)
        last = error
        while last.__cause__ is not None:
            last = last.__cause__
        set_attribute(last, "__cause__", RemoteTraceback(text))
    return error


def from_plain(written: Mapping[str, Any]) -> BaseException:
    """Rebuild an error from plain JSON: the details of a Temporal failure, or a part of a message."""
    return from_wire(loads(json.dumps(written).encode()))


def remote_traceback(error: BaseException) -> str | None:
    """Return the traceback of a rebuilt error as text, or None for an error that was raised in this process."""
    found = getattr(error, "remote_traceback", None)
    return found if isinstance(found, str) else None


def _rebuild(wire: Mapping[str, Any], depth: int) -> BaseException:
    module, name = str(wire.get("module") or ""), str(wire.get("type") or "")
    found = find_class(module, name)
    if found is not None and not (isinstance(found, type) and issubclass(found, BaseException)):
        return SecurityError(
            f"an error came as {one_line(module)}.{one_line(name)}, which is no exception class but a "
            f"{type(found).__name__}: not called"
        )
    text = str(wire.get("text", ""))
    args = _read_values(wire.get("args"), depth)
    if depth and isinstance(wire.get("exceptions"), list):
        members = [_rebuild(member, depth - 1) for member in wire["exceptions"] if isinstance(member, Mapping)]
        args = (*args, members) if members else args
    state = {name: _read_value(value, depth) for name, value in _mapping(wire.get("state")).items()}
    call = _read_values(wire["call"], depth) if "call" in wire else args
    kwargs = {name: _read_value(value, depth) for name, value in _mapping(wire.get("kwargs")).items()}
    error = None
    if found and is_only_an_error(found):
        error = make(found, args, call, kwargs, state, could_be_called=not wire.get("not_callable"))
    if error is None:
        error = stand_in(module, name)(*args)
        for each, value in state.items():
            restore(error, each, value)
    says = _safely(lambda: str(error), None)
    if says is None or (says != text and _shorten(says, TEXT_LIMIT) != text):
        error = _speaking(error, text)
    notes = wire.get("notes")
    if isinstance(notes, list):
        set_attribute(error, "__notes__", [str(note) for note in notes])
    for link in ("cause", "context"):
        if depth and isinstance(wire.get(link), Mapping):
            set_attribute(error, f"__{link}__", _rebuild(wire[link], depth - 1))
    return error


class _Speaks:
    """Keeps the original text of an error whose own `__str__` needs values that could not be sent."""

    __slots__ = ()
    remote_text: str

    def __str__(self) -> str:
        return self.remote_text


@functools.lru_cache(maxsize=1024)
def _speaking_class(cls: Any) -> type[BaseException]:
    return type(cls.__name__, (_Speaks, cls), {"__module__": cls.__module__, "__qualname__": cls.__qualname__})


def _speaking(error: BaseException, text: str) -> BaseException:
    cls: Any = type(error)
    try:
        set_attribute(error, "__class__", _speaking_class(cls))
    except TypeError:
        return error  # a class with a C layout, or a final class: it keeps its own text
    error.__dict__["remote_text"] = text
    return error


def _read_values(values: Any, depth: int) -> tuple[Any, ...]:
    return tuple(_read_value(value, depth) for value in values) if isinstance(values, list) else ()


def _read_value(value: Any, depth: int) -> Any:
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("error"), Mapping):
        return _rebuild(value["error"], depth - 1) if depth else reprlib.repr(value)
    if "tuple" in value:
        return _read_values(value["tuple"], depth - 1) if depth else ()
    return value.get("value", value.get("repr"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
