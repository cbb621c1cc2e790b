"""Many payloads as one, compressed. The tasks of a canvas are much alike, and a large canvas has to fit one request.

The text begins with a line of JSON: `{"kinds": [metadata, …], "payloads": [size, kind, size, kind, …]}`. Payloads with
the same metadata have the same kind, because nearly all of them are alike. The data of the payloads follow.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

from ..payload import Payload
from ..payload.bounds import OutOfBounds, read_json
from ..payload.compression import decompress

LEVEL = 3
"""zlib's level. A canvas of 10,000 tasks takes half as long as with the default level, and a tenth more bytes."""


MOST_PAYLOADS = 500_000
"""Payloads in one archive. A canvas has at most 50,000 tasks and their callbacks, and each argument is a payload."""
VALUES_EACH = 2
"""Values that the line of JSON has for each payload."""


def packed(payloads: Sequence[Payload]) -> bytes:
    """Return the payloads as one compressed text of bytes."""
    kinds: dict[tuple[tuple[str, bytes], ...], int] = {}
    places: list[int] = []
    for payload in payloads:
        places += (len(payload.data), kinds.setdefault(tuple(payload.metadata.items()), len(kinds)))
    metadata = [{key: value.decode("latin-1") for key, value in kind} for kind in kinds]
    head = json.dumps({"kinds": metadata, "payloads": places}, separators=(",", ":")).encode()
    return zlib.compress(b"".join([head, b"\n", *(payload.data for payload in payloads)]), LEVEL)


def unpacked(data: bytes) -> list[Payload]:
    """Return the payloads that `packed` was given. Raise `ValueError` if `packed` can't have made the data."""
    whole = decompress(data, "zlib")
    begin = whole.index(b"\n") + 1
    head = read_json(whole[:begin])
    kinds = [{key: value.encode("latin-1") for key, value in kind.items()} for kind in head["kinds"]]
    sizes, places = head["payloads"][::2], head["payloads"][1::2]
    if len(sizes) > MOST_PAYLOADS:
        raise OutOfBounds(f"an archive of {len(sizes):,} payloads, where {MOST_PAYLOADS:,} are allowed")
    payloads = []
    for size, kind in zip(sizes, places, strict=True):
        # Without this check an attacker could have a few bytes read many times.
        if type(size) is not int or not 0 <= size <= len(whole) - begin:
            raise ValueError(f"a payload of {size!r:.80} bytes, where {len(whole) - begin} are left")
        payloads.append(Payload(kinds[kind], whole[begin : begin + size]))
        begin += size
    return payloads
