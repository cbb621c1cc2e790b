"""Compression under kombu's names, with a limit on the size after decompression."""

from __future__ import annotations

import bz2
import importlib
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ..exceptions import ImproperlyConfigured, PayloadTooLarge
from .bounds import MOST_BYTES, budget
from .types import Unreadable

#: Bytes of memory that the decompressor may use besides. The header of an LZMA payload can ask for up to 4 GiB.
LZMA_MEMORY = 128 * 1024 * 1024


@dataclass(frozen=True)
class Method:
    """One way to compress. `decompress` gets the data and the limit in bytes."""

    content_type: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_methods: dict[str, Method] = {}
_names: dict[str, str] = {}


def register(
    encoder: Callable[[bytes], bytes],
    decoder: Callable[[bytes], bytes],
    content_type: str,
    aliases: Iterable[str] = (),
) -> None:
    """Register a method of the application. Its decoder is trusted: the size is checked only after decompression."""

    def decompress(data: bytes, limit: int) -> bytes:
        return _within(decoder(data), limit)

    _register(Method(content_type, encoder, decompress), aliases)


def compress(data: bytes, name: str) -> tuple[bytes, str]:
    """Compress `data` with the method of this name or content type. Return the result and the method's content type."""
    method = find(name)
    return method.compress(data), method.content_type


def decompress(data: bytes, name: str, limit: int = MOST_BYTES) -> bytes:
    """Return the decompressed data. Raise `PayloadTooLarge` before more than `limit` bytes are made."""
    allowed = budget()
    made = find(name).decompress(data, max(0, min(limit, allowed.bytes)))
    allowed.take_bytes(len(made))
    return made


def find(name: str) -> Method:
    """Return the method of this name or content type."""
    method = _methods.get(_names.get(name, name))
    if method is None:
        hint = "; pip install backports.zstd brings zstd" if name in ("zstd", "zstandard", "application/zstd") else ""
        raise ImproperlyConfigured(
            f"compression {name!r} is not known here; there are {', '.join(sorted(_names))}{hint}"
        )
    return method


def _register(method: Method, aliases: Iterable[str]) -> None:
    _methods[method.content_type] = method
    _names.update((alias, method.content_type) for alias in aliases)


def _within(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise PayloadTooLarge(
            f"a compressed payload inflates to more than {limit:,} bytes, so it was not read; "
            "store such data elsewhere and pass where it is"
        )
    return data


def _inflating(start: Callable[[], _Decompressor]) -> Callable[[bytes, int], bytes]:
    def decompress(data: bytes, limit: int) -> bytes:
        decompressor = start()
        try:
            made = _within(decompressor.decompress(data, limit + 1), limit)
        except PayloadTooLarge:
            raise
        except Exception as error:
            raise Unreadable(f"a compressed payload of {len(data)} bytes can't be inflated: {error}") from error
        if not decompressor.eof or decompressor.unused_data:
            raise Unreadable(f"a compressed payload of {len(data)} bytes is cut off, or more follows it")
        return made

    return decompress


def _zstd() -> Any:
    # Optional: a part of Python from 3.14 on, and a package for older versions.
    try:
        return importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    except ImportError:
        return None


# 32 + MAX_WBITS reads both zlib's own framing, which kombu writes as "gzip", and gzip's.
_register(
    Method("application/x-gzip", zlib.compress, _inflating(lambda: zlib.decompressobj(32 + zlib.MAX_WBITS))),
    ["gzip", "zlib"],
)
_register(Method("application/x-bz2", bz2.compress, _inflating(bz2.BZ2Decompressor)), ["bzip2", "bzip"])
_register(
    Method("application/x-lzma", lzma.compress, _inflating(lambda: lzma.LZMADecompressor(memlimit=LZMA_MEMORY))),
    ["lzma", "xz"],
)
if (zstd := _zstd()) is not None:
    _register(Method("application/zstd", zstd.compress, _inflating(zstd.ZstdDecompressor)), ["zstd", "zstandard"])
