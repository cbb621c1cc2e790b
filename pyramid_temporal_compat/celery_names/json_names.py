"""The functions of `kombu.utils.json`. They read and write the same JSON as tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from ..payload import types
from ..payload.types import register_type
from ..payload.types import revive as object_hook

T = TypeVar("T")
EncodedT = TypeVar("EncodedT")

textual_types: tuple[type, ...] = ()


class JSONEncoder(json.JSONEncoder):
    """Encodes the types that tasks accept as arguments, for `json.dumps(value, cls=JSONEncoder)`."""

    def default(self, o: Any) -> Any:
        return json.loads(types.dumps(o))


def dumps(
    s: Any,
    _dumps: Callable[..., str] = json.dumps,
    cls: type[json.JSONEncoder] = JSONEncoder,
    default_kwargs: dict[str, Any] | None = None,
    **kwargs: Any,
) -> str:
    """Return `s` as JSON. `kwargs` go to `json.dumps`."""
    return _dumps(s, cls=cls, **{**(default_kwargs or {}), **kwargs})


def loads(
    s: Any,
    _loads: Callable[..., Any] = json.loads,
    decode_bytes: bool = True,
    object_hook: Callable[[dict[str, Any]], Any] = object_hook,
) -> Any:
    """Return the value of JSON that `dumps` wrote."""
    if isinstance(s, (memoryview, bytearray)) or (decode_bytes and isinstance(s, bytes)):
        s = bytes(s).decode()
    return _loads(s, object_hook=object_hook)


__all__ = ["EncodedT", "JSONEncoder", "T", "dumps", "loads", "object_hook", "register_type", "textual_types"]
