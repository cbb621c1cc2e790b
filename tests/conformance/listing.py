"""The tests of the suite that fail here, always or on a slow machine, each with its reason: `listed.toml`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


SLOW = "on a slow machine"
"""The table, in that of a file, of those tests that may pass as well."""


@functools.cache
def listed() -> Mapping[str, str]:
    """The reasons of those that fail, by the tests' ids."""
    return {id: reason for id, reason in _entries() if isinstance(reason, str)}


@functools.cache
def hurried() -> Mapping[str, str]:
    """Those of tests that fail on a slow machine."""
    prefix = f"::{SLOW}"
    return {
        f"{table.removesuffix(prefix)}::{test}": reason
        for table, entries in _entries()
        if table.endswith(prefix)
        for test, reason in entries.items()
    }


def _entries() -> Iterator[tuple[str, Any]]:
    tables = tomllib.loads((Path(__file__).parent / "listed.toml").read_text())
    for file, entries in tables.items():
        for name, entry in entries.items():
            yield f"t/integration/{file}::{name}", entry
