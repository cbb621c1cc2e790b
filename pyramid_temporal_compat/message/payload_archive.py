"""Many payloads as one, compressed. The tasks of a canvas are much alike, and a large canvas has to fit one request."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

from ..payload import Payload
from ..payload.bounds import OutOfBounds, read_json
from ..payload.compression import decompress

LEVEL = 3
"""zlib's level. A canvas of 10,000 tasks takes half as long as with the default level, and a tenth more bytes."""


MOST_PAYLOADS = 200_000
"""Payloads in one archive. A canvas has at most 50,000 tasks, and each may have callbacks."""


def packed(payloads: Sequence[Payload]) -> bytes:
    """Return the payloads as one compressed text of bytes."""
    head = [
        [len(payload.data), {key: value.decode("latin-1") for key, value in payload.metadata.items()}]
        for payload in payloads
    ]
    data = [payload.data for payload in payloads]
    return zlib.compress(b"".join([json.dumps(head, separators=(",", ":")).encode(), b"\n", *data]), LEVEL)


def unpacked(data: bytes) -> list[Payload]:
    """Return the payloads that `packed` was given. Raise `ValueError` if `packed` can't have made the data."""
    whole = decompress(data, "zlib")
    begin = whole.index(b"\n") + 1
    payloads = []
    head = read_json(whole[:begin])
    if len(head) > MOST_PAYLOADS:
        raise OutOfBounds(f"an archive of {len(head):,} payloads, where {MOST_PAYLOADS:,} are allowed")
    for size, metadata in head:
        # Without this check an attacker could have a few bytes read many times.
        if type(size) is not int or not 0 <= size <= len(whole) - begin:
            raise ValueError(f"a payload of {size!r:.80} bytes, where {len(whole) - begin} are left")
        named = {key: value.encode("latin-1") for key, value in metadata.items()}
        payloads.append(Payload(named, whole[begin : begin + size]))
        begin += size
    return payloads
