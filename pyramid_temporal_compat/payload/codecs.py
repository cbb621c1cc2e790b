"""Codecs change a payload's bytes before they are sent: compression, then encryption.

A codec puts the whole payload, metadata included, into a new payload. The form is a protobuf `Payload`, as in
Temporal's own sample codecs, so any of their codec servers works for the web UI.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..exceptions import ImproperlyConfigured, SecurityError
from . import Payload
from . import compression as compressions
from .bounds import MOST_BYTES
from .types import Unreadable

ENCRYPTED = "binary/encrypted"
COMPRESSED = "binary/zlib"
KEY_ID = "encryption-key-id"
NEW_KEY = 'python -c "import base64, os; print(base64.b64encode(os.urandom(32)).decode())"'


class Codec(Protocol):
    """Changes payloads on their way out, and back on their way in.

    A payload may pass through a codec twice, for example if it goes through the outbox first. So `encode` leaves an
    encoded payload alone, and `decode` a decoded one. Neither blocks.
    """

    def encode(self, payload: Payload) -> Payload: ...

    def decode(self, payload: Payload) -> Payload: ...


class Encryption:
    """Encrypts with AES-GCM. The first key encrypts, and all keys decrypt. A payload names the key that it needs.

    With `required`, an unencrypted payload is refused. Set it when no payload is left that was sent before encryption
    was turned on.
    """

    def __init__(self, keys: Mapping[str, bytes], required: bool = False) -> None:
        if not keys:
            raise ImproperlyConfigured(
                f"encryption needs at least one key, in ptemporal.encryption_keys; make one with: {NEW_KEY}"
            )
        for key_id, key in keys.items():
            _check_key(key_id, key)
        aesgcm, self._invalid_tag = _cryptography()
        self._ciphers = {key_id: aesgcm(key) for key_id, key in keys.items()}
        self._key_id = next(iter(keys))
        self.required = required

    def encode(self, payload: Payload) -> Payload:
        if payload.encoding == ENCRYPTED:
            return payload
        nonce = os.urandom(12)
        sealed = self._ciphers[self._key_id].encrypt(nonce, pack(payload), None)
        return Payload({"encoding": ENCRYPTED.encode(), KEY_ID: self._key_id.encode()}, nonce + sealed)

    def decode(self, payload: Payload) -> Payload:
        if payload.encoding != ENCRYPTED:
            if self.required:
                raise SecurityError(
                    f"a payload came unencrypted ({payload.encoding}), and encryption is required here; "
                    "give its sender the same ptemporal.encryption_keys"
                )
            return payload
        key_id = payload.metadata.get(KEY_ID, b"").decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SecurityError(
                f"a payload is encrypted with the key {key_id!r:.80}, and only {', '.join(map(repr, self._ciphers))} "
                "are known here; keep a key in ptemporal.encryption_keys until no payload is left that it encrypted"
            )
        try:
            opened = cipher.decrypt(payload.data[:12], payload.data[12:], None)
        except (self._invalid_tag, ValueError) as error:
            raise SecurityError(
                f"a payload that says it is encrypted with the key {key_id!r} does not open with it: "
                "it was changed on its way, or the key of that name differs between sender and receiver"
            ) from error
        return unpack(opened)


class Compression:
    """Compresses payloads of at least `minimum` bytes with zlib, if that makes them smaller."""

    def __init__(self, minimum: int = 1024, limit: int = MOST_BYTES) -> None:
        self.minimum = minimum
        self.limit = limit

    def encode(self, payload: Payload) -> Payload:
        if len(payload.data) < self.minimum or payload.encoding in (COMPRESSED, ENCRYPTED):
            return payload
        squeezed, _ = compressions.compress(pack(payload), "zlib")
        made = Payload({"encoding": COMPRESSED.encode()}, squeezed)
        return made if len(squeezed) < len(payload.data) else payload

    def decode(self, payload: Payload) -> Payload:
        if payload.encoding != COMPRESSED:
            return payload
        return unpack(compressions.decompress(payload.data, "zlib", self.limit))


class _Chain:
    def __init__(self, codecs: Sequence[Codec]) -> None:
        self.codecs = codecs

    def encode(self, payload: Payload) -> Payload:
        for codec in self.codecs:
            payload = codec.encode(payload)
        return payload

    def decode(self, payload: Payload) -> Payload:
        for codec in reversed(self.codecs):
            payload = codec.decode(payload)
        return payload


def chain(codecs: Sequence[Codec]) -> Codec:
    """Return one codec that encodes with `codecs` in this order and decodes in reverse.

    Compression must come first, because encrypted data can't be compressed.
    """
    return _Chain(tuple(codecs))


def parse_keys(setting: str) -> dict[str, bytes]:
    """Return the keys of `id:base64, id2:base64`, in this order. Error messages never show what might be a key."""
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(filter(None, map(str.strip, setting.replace("\n", ",").split(","))), 1):
        key_id, colon, encoded = (part.strip() for part in entry.partition(":"))
        if not colon or not key_id:
            raise ImproperlyConfigured(f"entry {number} of the encryption keys is not of the form id:base64")
        if key_id in keys:
            raise ImproperlyConfigured(f"the encryption keys name {key_id!r} twice; each key needs an id of its own")
        try:
            key = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error as error:
            raise ImproperlyConfigured(
                f"the encryption key {key_id!r} is not base64; make one with: {NEW_KEY}"
            ) from error
        _check_key(key_id, key)
        keys[key_id] = key
    return keys


def _check_key(key_id: str, key: bytes) -> None:
    if len(key) not in (16, 24, 32):
        raise ImproperlyConfigured(
            f"the encryption key {key_id!r} has {len(key)} bytes; AES takes 16, 24 or 32. Make one with: {NEW_KEY}"
        )


def _cryptography() -> tuple[Any, type[Exception]]:
    try:
        from cryptography.exceptions import InvalidTag  # optional
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ImproperlyConfigured(
            "encryption needs the package cryptography: pip install 'pyramid-temporal-compat[encryption]'"
        ) from error
    return AESGCM, InvalidTag


# --- a payload as one string of bytes --------------------------------------------------------------
# Temporal's protobuf `Payload { map<string, bytes> metadata = 1; bytes data = 2; }`, written by hand, because the
# generated class needs the import of temporalio.

_METADATA, _DATA = 0x0A, 0x12
_ENTRY_KEY, _ENTRY_VALUE = 0x0A, 0x12
MOST_FIELDS = 1000
"""Fields of a payload, or of an entry of its metadata: ours has about five. Each could take two bytes."""


def pack(payload: Payload) -> bytes:
    """Return a payload as protobuf bytes."""
    made = bytearray()
    for key, value in payload.metadata.items():
        entry = bytearray()
        _put(entry, _ENTRY_KEY, key.encode())
        _put(entry, _ENTRY_VALUE, value)
        _put(made, _METADATA, entry)
    if payload.data:
        _put(made, _DATA, payload.data)
    return bytes(made)


def unpack(packed: bytes) -> Payload:
    """Return the payload that `pack` was given. Raise `Unreadable` if the bytes are no payload."""
    metadata: dict[str, bytes] = {}
    data = b""
    for tag, field in _fields(packed):
        if tag == _METADATA:
            entry = dict(_fields(field))
            try:
                metadata[entry.get(_ENTRY_KEY, b"").decode()] = entry.get(_ENTRY_VALUE, b"")
            except UnicodeDecodeError as error:
                raise Unreadable("a decoded payload's metadata has a name that is not text") from error
        elif tag == _DATA:
            data = field
    return Payload(metadata, data)


def _put(made: bytearray, tag: int, field: bytes | bytearray) -> None:
    made.append(tag)
    length = len(field)
    while length > 0x7F:
        made.append(length & 0x7F | 0x80)
        length >>= 7
    made.append(length)
    made += field


def _fields(packed: bytes) -> list[tuple[int, bytes]]:
    fields: list[tuple[int, bytes]] = []
    at = 0
    while at < len(packed):
        if len(fields) >= MOST_FIELDS:
            raise Unreadable(f"what a codec decoded is not a payload: it has more than {MOST_FIELDS:,} fields")
        tag, length, shift = packed[at], 0, 0
        at += 1
        while True:
            if at >= len(packed) or shift > 35 or tag & 7 != 2:
                raise Unreadable("what a codec decoded is not a payload")
            byte = packed[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if at + length > len(packed):
            raise Unreadable("what a codec decoded is not a payload: it is cut off")
        fields.append((tag, packed[at : at + length]))
        at += length
    return fields
