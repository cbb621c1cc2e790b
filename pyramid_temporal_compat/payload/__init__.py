"""Values as bytes: types, serialisers, codecs, and errors on the wire."""

# No `from __future__ import annotations`: it would hide the submodule of that name.
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Payload:
    """One value on the wire: Temporal's payload, without the import of Temporal.

    As in Temporal's own payloads, `metadata["encoding"]` says how to read `data`.
    """

    metadata: Mapping[str, bytes]
    data: bytes

    @property
    def encoding(self) -> str:
        """How to read `data`, such as `json/plain`. Empty if the metadata do not say it."""
        return self.metadata.get("encoding", b"").decode(errors="replace")
