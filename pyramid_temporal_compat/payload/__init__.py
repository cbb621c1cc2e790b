"""What travels, as bytes: types, serialisers, codecs, and errors on the wire."""

# No `from __future__ import annotations`: it would hide the submodule of that name.
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Payload:
    """One value on the wire: Temporal's payload, without the import of Temporal.

    `metadata["encoding"]` says how `data` is to be read, as Temporal's own payloads do.
    """

    metadata: Mapping[str, bytes]
    data: bytes

    @property
    def encoding(self) -> str:
        return self.metadata.get("encoding", b"").decode(errors="replace")
