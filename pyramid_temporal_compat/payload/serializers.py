"""Serialisers by name and content type, and the check that decides which content types are read at all."""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..exceptions import (
    ContentDisallowed,
    ImproperlyConfigured,
    NotSerializable,
    SecurityError,
    SerializerNotInstalled,
)
from . import Payload, types
from . import compression as compressions
from .bounds import MOST_BYTES, MOST_VALUES, OutOfBounds, budget, refuse_alike
from .types import Unreadable

JSON_TYPE = "application/json"
RAW_TYPE = "application/data"
SIGNED = "auth"
#: Plain bytes and text, which need no decoder. As in kombu they are always accepted, unless only signed content is.
TRUSTED = frozenset({RAW_TYPE, "application/text"})

MOST_YAML_BYTES = 4 * 1024 * 1024
MOST_YAML_VALUES = 200_000
"""PyYAML is written in Python. It reads some 25,000 values, or 3 MB of text, in a second."""
LONGEST_YAML_NUMBER = 4300
"""Characters of a number in YAML; Python's own limit for decimal numbers. YAML also has numbers of base 60, such as
`1:1:1`, and the time to read them grows with the square of their length."""

Encoder = Callable[[Any], Any]
Decoder = Callable[[bytes], Any]


@dataclass(frozen=True)
class Serializer:
    """One way to write values. Without an encoder or a decoder it works in one direction only."""

    name: str
    content_type: str
    content_encoding: str
    encoder: Encoder | None
    decoder: Decoder | None


_RESERVED = frozenset({"compressed", "encrypted", "null", "plain", "zlib"})
_by_name: dict[str, Serializer] = {}
_by_type: dict[str, Serializer] = {}


def register(
    name: str,
    encoder: Encoder | None,
    decoder: Decoder | None,
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Add or replace the serialiser of this name. The encoder returns str or bytes, and the decoder gets bytes."""
    if name in _RESERVED:
        raise ImproperlyConfigured(f"a serializer can't be called {name!r}: codecs mark payloads with that name")
    _by_name[name] = _by_type[content_type] = Serializer(name, content_type, content_encoding, encoder, decoder)


def unregister(name: str) -> None:
    """Remove a serialiser."""
    serializer = find(name)
    del _by_name[name]
    if _by_type.get(serializer.content_type) is serializer:
        del _by_type[serializer.content_type]
        for other in _by_name.values():  # an older serialiser of the same content type takes its place again
            if other.content_type == serializer.content_type:
                _by_type[other.content_type] = other


def find(name: str) -> Serializer:
    """Return the serialiser of this name or content type."""
    serializer = _by_name.get(name) or _by_type.get(name)
    if serializer is None:
        raise SerializerNotInstalled(
            f"no serializer is called {name!r}; there are {', '.join(sorted(_by_name))}. "
            "register() it where both the callers and the workers import it"
        )
    return serializer


def names() -> list[str]:
    """Return the names of the registered serialisers."""
    return sorted(_by_name)


def content_types(accept: Collection[str]) -> frozenset[str]:
    """Return the content types for `accept`, which holds names or content types."""
    return frozenset(entry if "/" in entry else find(entry).content_type for entry in accept)


def serialize(value: Any, serializer: str = "json", compression: str | None = None, name: str = "") -> Payload:
    """Return `value` as a payload. Raise `NotSerializable`, which calls the value `name`, if it can't be written."""
    chosen = find(serializer)
    if chosen.content_type == JSON_TYPE and not compression:
        return json_payload(chosen, value, name)
    data, content_encoding = _encode(chosen, value, name)
    if compression:
        squeezed, method = compressions.compress(data, compression)
        metadata = _metadata("binary/compressed", chosen.content_type, content_encoding)
        return Payload({**metadata, "compression": method.encode()}, squeezed)
    encoding = "binary/plain" if chosen.content_type == RAW_TYPE else f"binary/{chosen.name}"
    return Payload(_metadata(encoding, chosen.content_type, content_encoding), data)


def json_payload(chosen: Serializer, value: Any, name: str) -> Payload:
    """Return `value` as a payload of plain JSON, written by a serialiser of JSON. Most calls use one."""
    return Payload(_JSON_METADATA, _encode(chosen, value, name)[0])


def largest(args: Sequence[Any], kwargs: Mapping[str, Any], serializer: str = "json") -> tuple[str, int]:
    """Return the name of the largest argument and its size in bytes, for an error message."""
    named = [(f"args[{index}]", value) for index, value in enumerate(args)]
    named += [(f"kwargs[{name!r}]", value) for name, value in kwargs.items()]
    sizes = ((name, len(serialize(value, serializer, name=name).data)) for name, value in named)
    return max(sizes, key=lambda size: size[1], default=("the arguments", 0))


def deserialize(
    payload: Payload,
    accept: Collection[str],
    setting: str = "accept_content",
    limit: int = MOST_BYTES,
) -> Any:
    """Return the payload's value if `accept` holds its content type.

    Raise `ContentDisallowed` before any decoder, even a decompressor, reads the data. The error names `setting`, where
    the user can accept the content type.
    """
    signed_only = set(accept) == {SIGNED}
    if payload.encoding == "binary/null" and not signed_only:
        return None
    content_type = _content_type(payload)
    if (signed_only or content_type not in TRUSTED) and content_type not in content_types(accept):
        raise _disallowed(content_type, accept, setting)
    data = payload.data
    method = payload.metadata.get("compression")
    if method:
        data = compressions.decompress(data, method.decode(errors="replace"), limit)
    else:
        _take_bytes(len(data))
    serializer = _by_type.get(content_type)
    if serializer is not None and serializer.decoder is not None:
        return _decode(serializer, serializer.decoder, data)
    content_encoding = payload.metadata.get("content-encoding", b"binary").decode(errors="replace")
    return data if content_encoding == "binary" else _text(data, content_encoding)


def _take_bytes(count: int) -> None:
    try:
        budget().take_bytes(count)
    except OutOfBounds as error:
        raise Unreadable(f"a payload is refused: {error}") from error


_JSON_METADATA = {"encoding": b"json/plain"}


def _metadata(encoding: str, content_type: str, content_encoding: str) -> dict[str, bytes]:
    return {
        "encoding": encoding.encode(),
        "content-type": content_type.encode(),
        "content-encoding": content_encoding.encode(),
    }


def _content_type(payload: Payload) -> str:
    declared = payload.metadata.get("content-type")
    if declared is not None and payload.encoding.startswith("binary/"):
        return declared.decode(errors="replace")
    if payload.encoding == "json/plain":
        return JSON_TYPE
    if payload.encoding == "binary/plain":
        return RAW_TYPE
    hint = "; it is encrypted, and no codec here has decrypted it: set ptemporal.encryption_keys"
    raise Unreadable(
        f"a payload has the encoding {payload.encoding!r}, which tasks do not read: send JSON (json/plain)"
        + (hint if payload.encoding == "binary/encrypted" else "")
    )


def _disallowed(content_type: str, accept: Collection[str], setting: str) -> ContentDisallowed:
    came = _label(content_type)
    accepted = ", ".join(_label(entry) for entry in sorted(content_types(accept))) or "nothing"
    word = _by_type[content_type].name if content_type in _by_type else content_type
    return ContentDisallowed(
        f"refused to read {came}: only {accepted} is accepted here. "
        f"Add {word!r} to {setting} if everyone who can write to this queue is trusted with it"
    )


def _label(content_type: str) -> str:
    serializer = _by_type.get(content_type)
    return f"{serializer.name} ({content_type})" if serializer else content_type


def _encode(serializer: Serializer, value: Any, name: str) -> tuple[bytes, str]:
    if serializer.encoder is None:
        raise SerializerNotInstalled(f"serializer {serializer.name!r} can be read here, but not written: no encoder")
    try:
        data = types.dumps(value, name) if serializer.encoder is types.dumps else serializer.encoder(value)
    except (NotSerializable, SerializerNotInstalled):
        raise
    except Exception as error:
        raise NotSerializable(
            f"{name or 'the value'} can't be written by the serializer {serializer.name!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if isinstance(data, str):
        charset = "utf-8" if serializer.content_encoding == "binary" else serializer.content_encoding
        return data.encode(charset), charset
    return bytes(data), serializer.content_encoding


def _decode(serializer: Serializer, decoder: Decoder, data: bytes) -> Any:
    try:
        return decoder(data)
    except (Unreadable, SerializerNotInstalled, SecurityError):
        raise
    except Exception as error:
        raise Unreadable(
            f"{len(data)} bytes of {_label(serializer.content_type)} can't be read: {type(error).__name__}: {error}"
        ) from error


def _text(data: bytes, content_encoding: str) -> str:
    try:
        return data.decode(content_encoding)
    except (LookupError, UnicodeDecodeError) as error:
        raise Unreadable(f"{len(data)} bytes can't be read as {content_encoding} text: {error}") from error


# --- serialisers that are always registered -------------------------------------------------------------------


def _yaml() -> Any:
    try:
        import yaml  # optional
    except ImportError as error:
        raise SerializerNotInstalled("serializer 'yaml' needs PyYAML: pip install pyyaml") from error
    return yaml


def _load_yaml(data: bytes) -> Any:
    if len(data) > MOST_YAML_BYTES:
        raise OutOfBounds(f"it has more than {MOST_YAML_BYTES:,} bytes")
    value = _yaml_loader(_yaml())(data)
    _refuse_bomb(value, {})
    return value


@functools.cache
def _yaml_loader(yaml: Any) -> Callable[[bytes], Any]:
    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Refuses what takes much more memory or time than its text suggests."""

        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            self.values = 0
            self.allowed = budget()

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.values += 1
            if self.values > MOST_YAML_VALUES:
                raise OutOfBounds(f"it holds more than {MOST_YAML_VALUES:,} values")
            self.allowed.take_values(1)
            return super().compose_node(parent, index)

        def flatten_mapping(self, node: Any) -> None:
            # No dumper writes merge keys, and a few lines of them stand for billions of pairs.
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise ValueError("it has merge keys (<<), which are not read")
            refuse_alike([self.construct_object(key, deep=True) for key, _ in node.value])

        def construct_scalar(self, node: Any) -> Any:
            if node.tag == "tag:yaml.org,2002:int" and len(node.value) > LONGEST_YAML_NUMBER:
                raise OutOfBounds(f"it has a number of more than {LONGEST_YAML_NUMBER:,} characters")
            return super().construct_scalar(node)

    return lambda data: yaml.load(data, Loader)


def _refuse_bomb(value: Any, sizes: dict[int, int]) -> int:
    """Return the number of values, with each alias written out. Raise if no memory could hold them."""
    if not isinstance(value, (list, dict, set, tuple)):
        return 1
    known = sizes.get(id(value))
    if known == 0:
        raise ValueError("it contains itself")
    if known is None:
        sizes[id(value)] = 0
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        known = sizes[id(value)] = 1 + sum(_refuse_bomb(part, sizes) for part in parts)
        if known > MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values")
    return known


def _msgpack() -> Any:
    try:
        import msgpack  # optional
    except ImportError as error:
        raise SerializerNotInstalled("serializer 'msgpack' needs msgpack: pip install msgpack") from error
    return msgpack


def _load_msgpack(data: bytes) -> Any:
    allowed = budget()

    def counted(made: Any) -> Any:
        allowed.take_values(len(made) + 1)
        return made

    def counted_extension(code: int, content: bytes) -> Any:
        allowed.take_values(1)
        return msgpack.ExtType(code, content)

    msgpack = _msgpack()
    # An array is counted when it is complete, so the size that its head may promise has a bound as well.
    most = min(len(data), allowed.values)
    return msgpack.unpackb(
        data,
        raw=False,
        strict_map_key=True,  # only text and bytes, whose hashes no sender can choose
        object_hook=counted,
        list_hook=counted,
        ext_hook=counted_extension,
        max_array_len=most,
        max_map_len=most,
    )


class PlainUnpickler(pickle.Unpickler):
    """Reads a pickle that holds numbers, texts, lists, dicts, times and the like. It calls nothing else."""

    PLAIN = frozenset({("datetime", "datetime"), ("datetime", "date"), ("decimal", "Decimal"), ("uuid", "UUID")})
    """The classes that the pickle may name. They are values only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.PLAIN:
            raise ContentDisallowed(f"a pickle names {module}.{name}: it is read only if accept_content has pickle")
        return super().find_class(module, name)


def plain_pickle(data: bytes) -> Any:
    """Return the value of a pickle that comes from an application which does not accept pickle.

    Raises `ContentDisallowed` if it holds more than plain values.
    """
    return PlainUnpickler(io.BytesIO(data)).load()


def _raw(value: Any) -> Any:
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return value
    raise TypeError(f"it takes str or bytes, not {type(value).__name__}")


register("json", types.dumps, types.loads, JSON_TYPE)
register("yaml", lambda value: _yaml().safe_dump(value), _load_yaml, "application/x-yaml")
register(
    "msgpack",
    lambda value: _msgpack().packb(value, use_bin_type=True),
    _load_msgpack,
    "application/x-msgpack",
    "binary",
)
register(
    "pickle", lambda value: pickle.dumps(value, protocol=4), pickle.loads, "application/x-python-serialize", "binary"
)
register("raw", _raw, None, RAW_TYPE, "binary")
