"""JSON for arguments and results: kombu's wire form, with more types, and errors that name the place.

A type that JSON lacks travels as `{"__type__": marker, "__value__": ...}`, so what Celery wrote can be read here.
`dumps` has two ways to the same bytes. The first is `json`'s C encoder. Where that stumbles, `_Walk` goes through
the value in Python: it either finds a form that travels, or names the part that has none.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import inspect
import json
import math
import secrets
import sys
import uuid
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NoReturn, TypeVar

from ..exceptions import CeleryError, DecodeError, NotSerializable
from .advice import advice
from .bounds import DEEPEST, MOST_VALUES, OutOfBounds, is_deeper, read_json, refuse_alike

T = TypeVar("T")

TYPE, VALUE = "__type__", "__value__"
LARGE = 2**63
"""A number of more digits takes the slower ways: Python refuses to write very many digits."""
DEEPEST_WALK = 400
"""The deepest level that the walk enters. The interpreter's limit does not matter: the walk keeps a path a level."""


class Unreadable(DecodeError, CeleryError, ValueError):
    """Bytes can't be read as what their metadata says they are; the message says which part, and why."""


# The fast way writes this in place of TYPE and renames it at the end. So a TYPE that is in the text before that
# comes from the caller's own data. It is a dict that only looks like an envelope, and must come back as a dict.
_OURS = f"{TYPE}{secrets.token_hex(8)}"


def dumps(value: Any, name: str = "") -> bytes:
    """Return `value` as compact JSON in UTF-8. Errors call the value `name`, such as `result`.

    Raises `NotSerializable`, which says where in the value the trouble is, what it is and what to send instead.
    """
    if type(value) is int and -LARGE < value < LARGE:  # most arguments are ids, and the encoder takes 1 us to set up
        return b"%d" % value
    try:
        text = _encode(value)
        if text.count("[") + text.count("{") > DEEPEST and is_deeper(value, DEEPEST):
            raise RecursionError
        if f'"{TYPE}"' not in text:
            return text.replace(_OURS, TYPE).encode()
    except (TypeError, ValueError, RecursionError):
        pass  # the walk below finds a way, or says what is wrong
    return _dumps_by_walking(value, name)


def ascii_size(written: bytes) -> int:
    """Return the size that the output of `dumps` has when all but ASCII is escaped, as in Temporal's own JSON."""
    if written.isascii() and b"\x7f" not in written:
        return len(written)
    text = written.decode()
    return len(json.dumps(text)) - 2 - text.count('"') - text.count("\\")


def loads(data: bytes) -> Any:
    """Return the value that `dumps` or kombu's JSON wrote. Raise `Unreadable` if it can't be read."""
    try:
        text = str(data, "utf-8")
        return read_json(text, Revival().revive if f'"{TYPE}"' in text else None)
    except Unreadable:
        raise
    except OutOfBounds as error:
        raise Unreadable(f"a payload of {len(data)} bytes is refused: {error}") from error
    except (ValueError, TypeError) as error:
        raise Unreadable(f"a payload of {len(data)} bytes is not JSON: {error}") from error
    except RecursionError as error:
        raise Unreadable(f"a payload of {len(data)} bytes is nested too deeply to be read") from error


def register_type(
    cls: type[T], marker: str | None, encoder: Callable[[T], Any], decoder: Callable[[Any], T] = lambda value: value
) -> None:
    """Let `cls` and its subclasses travel: `encoder` returns a value that JSON has, and `decoder` turns it back.

    With the marker None the encoder's value is written without an envelope, and is what the receiver gets.
    Subclasses of str, int, float, list, tuple and dict are JSON already, so an encoder for them is never asked.
    """
    _registered[cls] = (marker, encoder)
    if marker is not None:
        _registered_decoders[marker] = decoder


def unregister_type(cls: type[Any]) -> None:
    """Undo `register_type` for `cls`. A type that this module supports by itself is written as before."""
    marker, _ = _registered.pop(cls, (None, None))
    if marker is not None and all(marker != other for other, _ in _registered.values()):
        _registered_decoders.pop(marker, None)


# --- the types -------------------------------------------------------------------------------------


def _bytes_envelope(value: bytes) -> dict[str, Any]:
    try:
        return {_OURS: "bytes", VALUE: value.decode()}
    except UnicodeDecodeError:
        return {_OURS: "base64", VALUE: base64.b64encode(value).decode("ascii")}


def hashable(value: Any) -> Any:
    """Return a list as a tuple, at each level. JSON has no tuples, and a set can't hold lists."""
    return tuple(map(hashable, value)) if isinstance(value, list) else value


def _elements(make: Callable[[Iterable[Any]], Any], values: list[Any]) -> Any:
    """Return the set with its lists as tuples again. Dicts, as which dataclasses arrive, fit in no set."""
    try:
        members = [hashable(value) for value in values]
        refuse_alike(members)
        return make(members)
    except TypeError:
        return values  # an annotation `set[Model]` still makes the set


def _dict_of(pairs: list[Any]) -> dict[Any, Any]:
    """Return the dict of these pairs."""
    refuse_alike([key for key, _ in pairs])
    return dict(pairs)


def read_datetime(text: str) -> datetime:
    """Read ISO 8601. Python 3.10 does not know the suffix Z."""
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)


def _read_date(text: str) -> date:
    return read_datetime(text).date()


_BUILTIN: dict[type[Any], tuple[str, Callable[[Any], Any]]] = {
    datetime: ("datetime", datetime.isoformat),
    date: ("date", lambda value: value.isoformat()),
    time: ("time", lambda value: value.isoformat()),
    timedelta: (
        "timedelta",
        lambda value: {"days": value.days, "seconds": value.seconds, "microseconds": value.microseconds},
    ),
    Decimal: ("decimal", str),
    uuid.UUID: ("uuid", lambda value: {"hex": value.hex}),
    set: ("set", list),
    frozenset: ("frozenset", list),
}
_BUILTIN_DECODERS: dict[str, Callable[[Any], Any]] = {
    "datetime": read_datetime,
    "date": _read_date,
    "time": time.fromisoformat,
    "timedelta": lambda value: timedelta(**value),
    "decimal": Decimal,
    "uuid": lambda value: uuid.UUID(hex=value["hex"]),
    "bytes": lambda value: value.encode(),
    "base64": base64.b64decode,
    "set": lambda value: _elements(set, value),
    "frozenset": lambda value: _elements(frozenset, value),
    "float": float,
    "dict": _dict_of,
}
_registered: dict[type[Any], tuple[str | None, Callable[[Any], Any]]] = {}
_registered_decoders: dict[str, Callable[[Any], Any]] = {}


class Revival:
    """Turns the envelopes of one payload back into their values."""

    def __init__(self) -> None:
        self._members = 0

    def revive(self, found: dict[str, Any]) -> Any:
        """Return the value of a dict that is an envelope, ours or kombu's. Return any other dict unchanged."""
        if found.get(TYPE) in ("set", "frozenset"):
            # A set in a set in a set, each with a member that fits in no set, would be walked once for each level.
            self._members += _count_members(found.get(VALUE))
            if self._members > 2 * MOST_VALUES:
                raise OutOfBounds("its sets hold sets that hold sets, too many to be made")
        return revive(found)


def _count_members(value: Any) -> int:
    """Return how many members `hashable` walks through."""
    return 1 + sum(map(_count_members, value)) if isinstance(value, list) else 1


def revive(found: dict[str, Any]) -> Any:
    """Return the value of a dict that is an envelope, ours or kombu's. Return any other dict unchanged."""
    if len(found) != 2 or TYPE not in found or VALUE not in found:
        return found
    marker, value = found[TYPE], found[VALUE]
    decoder = None
    if isinstance(marker, str):
        decoder = _registered_decoders.get(marker) or _BUILTIN_DECODERS.get(marker)
    if decoder is None:
        raise Unreadable(
            f"a payload holds a value of type {marker!r}, which is not known here; "
            "call register_type() for it in every process that reads such payloads"
        )
    try:
        return decoder(value)
    except Exception as error:
        raise Unreadable(f"a payload's {marker} can't be read from {value!r:.200}: {error}") from error


# --- one step towards JSON -------------------------------------------------------------------------


class _Refused(TypeError):
    """The value has no form in JSON. The text gives the reason, unless the type is reason enough."""


def _reduce(value: Any) -> Any:
    """Take one step from `value`, which JSON does not have, towards JSON. Raise `_Refused` if there is none."""
    cls = type(value)
    try:
        if not isinstance(value, type):
            if hasattr(value, "__json__"):
                return _call_json_method(value)
            for base in cls.__mro__:
                entry = _registered.get(base) or _BUILTIN.get(base)
                if entry is not None:
                    marker, encoder = entry
                    return encoder(value) if marker is None else {_OURS: marker, VALUE: encoder(value)}
            for base, (marker, encoder) in _registered.items():  # abstract classes are in no __mro__
                if isinstance(value, base):
                    return encoder(value) if marker is None else {_OURS: marker, VALUE: encoder(value)}
            if isinstance(value, (bytes, bytearray, memoryview)):
                return _bytes_envelope(bytes(value))
            if isinstance(value, enum.Enum):
                return value.value
            if dataclasses.is_dataclass(cls) and not hasattr(value, "_sa_instance_state"):  # a mapped one is a row
                return {field.name: getattr(value, field.name) for field in dataclasses.fields(cls)}
            if is_pydantic_model(cls):
                return value.model_dump(mode="json")
    except (_Refused, RecursionError):
        raise
    except Exception as error:
        raise _Refused(f"writing it failed with {type(error).__name__}: {error}") from error
    raise _Refused


def _call_json_method(value: Any) -> Any:
    method = value.__json__
    try:
        inspect.signature(method).bind()
    except TypeError:
        raise _Refused(
            "its __json__ takes a request, as Pyramid's JSON renderer calls it; pass what it returns, or a primary key"
        ) from None
    except ValueError:
        pass  # written in C: no signature to see
    return method()


def is_pydantic_model(cls: Any) -> bool:
    """Return whether `cls` is a pydantic model, without importing pydantic: an application with models imports it."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)  # not there while another thread imports it
    return base is not None and isinstance(cls, type) and issubclass(cls, base)


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_reduce).encode


# --- the slow way ----------------------------------------------------------------------------------


def _dumps_by_walking(value: Any, name: str) -> bytes:
    try:
        return _encode(_Walk().plain(value, name)).replace(_OURS, TYPE).encode()
    except RecursionError:
        what = name or "the value"
        raise NotSerializable(f"{what} is nested too deeply to be sent; flatten it, or pass where it is kept") from None


class _Walk:
    """Walks through a value and keeps the path to the current part."""

    def __init__(self) -> None:
        self.above: dict[int, str] = {}

    def plain(self, value: Any, path: str, envelope: bool = False) -> Any:
        """Return `value` in JSON's own types only. With `envelope`, a dict of TYPE and VALUE is an envelope."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(value, path)
        if isinstance(value, int):
            return self.number(value, path)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {_OURS: "float", VALUE: float.__repr__(value)}
        if id(value) in self.above:
            refuse(value, path, f"it contains itself (it is also {self.above[id(value)] or 'the whole value'})")
        if len(self.above) >= DEEPEST_WALK:
            raise RecursionError
        self.above[id(value)] = path
        try:
            if isinstance(value, dict):
                return self.mapping(value, path, envelope)
            if isinstance(value, (list, tuple)):
                return [self.plain(member, f"{path}[{index}]") for index, member in enumerate(value)]
            return self.reduced(value, path)
        finally:
            del self.above[id(value)]

    def text(self, value: str, path: str) -> str:
        try:
            str.encode(value)
        except UnicodeEncodeError as error:
            refuse(
                value,
                path,
                f"the character at position {error.start} is a lone surrogate, which UTF-8 does not have; "
                "pass bytes (os.fsencode(name) for a file's name), or replace it",
            )
        return str.__str__(value)

    def number(self, value: int, path: str) -> int:
        try:
            int.__repr__(value)
        except ValueError as error:
            refuse(value, path, f"{error}; pass hex(number)")
        return int(value)

    def mapping(self, value: dict[Any, Any], path: str, envelope: bool) -> dict[str, Any]:
        made = {self.key(key, path): self.plain(member, _below(path, key)) for key, member in value.items()}
        if made.keys() == {TYPE, VALUE} and not envelope:
            return {_OURS: "dict", VALUE: [[key, member] for key, member in made.items()]}
        return made

    def key(self, key: Any, path: str) -> str:
        if isinstance(key, str):
            return self.text(key, _below(path, key))
        if key is None or isinstance(key, (bool, int, float)):
            # json's own spelling of such a key, minus NaN, which has none
            if isinstance(key, float) and not math.isfinite(key):
                refuse(key, _below(path, key), "JSON has no such key")
            return json.dumps(key)
        refuse(key, _below(path, key), "it is a key, and JSON's keys are strings; pass str(key), or a list of pairs")

    def reduced(self, value: Any, path: str) -> Any:
        try:
            made = _reduce(value)
        except _Refused as refusal:
            refuse(value, path, str(refusal) or advice(value))
        if isinstance(made, dict) and _OURS in made:
            return {_OURS: made[_OURS], VALUE: self.plain(made[VALUE], path)}
        if isinstance(made, dict) and dataclasses.is_dataclass(value):
            return {field: self.plain(member, f"{path}.{field}" if path else field) for field, member in made.items()}
        return self.plain(made, path, envelope=True)


def _below(path: str, key: Any) -> str:
    if not path and isinstance(key, str) and key.isidentifier():
        return str.__str__(key)
    return f"{path}[{key!r}]"


def refuse(value: Any, path: str, why: str) -> NoReturn:
    cls = type(value)
    kind = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    raise NotSerializable(f"{path or 'the value'} is a {kind}, which can't be sent: {why}")
