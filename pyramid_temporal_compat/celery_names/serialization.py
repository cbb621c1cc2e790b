"""The functions of `kombu.serialization`. They use the same serialisers as tasks."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..exceptions import ContentDisallowed, NotSerializable, SerializerNotInstalled
from ..payload import serializers
from ..payload.serializers import (
    JSON_TYPE,
    RAW_TYPE,
    TRUSTED,
    find,
    register,
    unregister,
)
from ..payload.types import Unreadable

TEXT_TYPE = "text/plain"
NOT_DECODED = frozenset({"binary", "ascii-8bit"})
INSECURE = ("pickle", "yaml", "msgpack")


def dumps(data: Any, serializer: str | None = None) -> tuple[str, str, Any]:
    """Return the content type, the encoding and the body of `data`.

    Without a serialiser, a text or bytes stay as they are, and any other value becomes JSON.
    """
    if serializer is None and isinstance(data, str):
        return TEXT_TYPE, "utf-8", data.encode()
    if isinstance(data, (str, bytes)) and serializer in (None, "raw"):
        return RAW_TYPE, *(("utf-8", data.encode()) if isinstance(data, str) else ("binary", data))
    chosen = find(serializer or "json")
    if chosen.encoder is None:
        raise SerializerNotInstalled(
            f"serializer {chosen.name!r} has no encoder, so it can only read; add one with register()"
        )
    try:
        body = chosen.encoder(data)
    except (NotSerializable, SerializerNotInstalled):
        raise
    except Exception as error:
        raise NotSerializable(
            f"the value can't be written by the serializer {chosen.name!r}: {type(error).__name__}: {error}"
        ) from error
    # Our JSON is bytes and kombu's is text. The result of a registered encoder is not changed.
    is_ours = chosen.content_type == JSON_TYPE and isinstance(body, bytes)
    return chosen.content_type, chosen.content_encoding, body.decode() if is_ours else body


def loads(
    data: Any,
    content_type: str | bytes | None,
    content_encoding: str | None,
    accept: Collection[str] | None = None,
    force: bool = False,
    _trusted_content: Collection[str] = TRUSTED,
) -> Any:
    """Return the value of `data`. `accept` names the content types to read; None means all that are not disabled."""
    kind = content_type.decode() if isinstance(content_type, bytes) else content_type or RAW_TYPE
    if accept is not None:
        if kind not in _trusted_content and kind not in accept:
            raise ContentDisallowed(f"refused to read {kind}: only {sorted(accept)} are accepted")
    elif kind in _disabled and not force:
        raise ContentDisallowed(f"refused to read {kind}: enable_insecure_serializers([{kind!r}]) would allow it")
    if not data:
        return data
    name = registry.type_to_name.get(kind)
    decoder = find(name).decoder if name else None
    encoding = (content_encoding or "utf-8").lower()
    if decoder is None and (isinstance(data, str) or encoding in NOT_DECODED):
        return data
    raw = data.encode() if isinstance(data, str) else bytes(data)
    try:
        return decoder(raw) if decoder else raw.decode(encoding)
    except (Unreadable, SerializerNotInstalled):
        raise
    except Exception as error:
        raise Unreadable(f"{len(raw)} bytes of {kind} ({encoding}) can't be read: {error}") from error


def enable_insecure_serializers(choices: Iterable[str] | None = INSECURE) -> None:
    """Let `loads` read these serialisers, given by name or content type, if it gets no `accept`."""
    for choice in choices or ():
        with contextlib.suppress(SerializerNotInstalled):
            registry.enable(choice)


def disable_insecure_serializers(allowed: Iterable[str] | None = ("json",)) -> None:
    """Let `loads` read only these serialisers, given by name or content type, if it gets no `accept`.

    This acts on the serialisers that are registered now. Workers use the setting `accept_content` only.
    """
    for content_type in registry.type_to_name:
        if find(content_type).decoder is not None:
            registry.disable(content_type)
    for name in allowed or ():
        registry.enable(name)


def prepare_accept_content(
    content_types: Iterable[str] | None, name_to_type: Mapping[str, str] | None = None
) -> set[str] | None:
    """Return the content types of these serialisers, which are given by name or content type."""
    if content_types is None:
        return None
    known = name_to_type or registry.name_to_type
    return {name if "/" in name else known.get(name) or find(name).content_type for name in content_types}


class SerializerRegistry:
    """The functions of this module, as the methods of `kombu.serialization.registry`."""

    @property
    def type_to_name(self) -> dict[str, str]:
        """Return the name of the serialiser for each content type."""
        return {find(name).content_type: name for name in serializers.names()}

    @property
    def name_to_type(self) -> dict[str, str]:
        """Return the content type of each serialiser."""
        return {name: find(name).content_type for name in serializers.names()}

    def register(
        self, name: str, encoder: Any, decoder: Any, content_type: str, content_encoding: str = "utf-8"
    ) -> None:
        register(name, encoder, decoder, content_type, content_encoding)

    def unregister(self, name: str) -> None:
        unregister(name)

    def enable(self, name: str) -> None:
        """Let `loads` read this serialiser, given by name or content type, if it gets no `accept`."""
        _disabled.discard(name if "/" in name else find(name).content_type)

    def disable(self, name: str) -> None:
        """Undo `enable`."""
        _disabled.add(name if "/" in name else find(name).content_type)

    def dumps(self, data: Any, serializer: str | None = None) -> tuple[str, str, Any]:
        return dumps(data, serializer)

    def loads(self, *args: Any, **kwargs: Any) -> Any:
        return loads(*args, **kwargs)


registry = SerializerRegistry()


_disabled: set[str] = set()
disable_insecure_serializers()

__all__ = [
    "SerializerRegistry",
    "disable_insecure_serializers",
    "dumps",
    "enable_insecure_serializers",
    "loads",
    "pickle",
    "prepare_accept_content",
    "register",
    "registry",
    "unregister",
]
