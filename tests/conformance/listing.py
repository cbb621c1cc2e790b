"""Read `listed.toml`: the tests of the suite that fail here, always or on a slow machine, each with its reason."""

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
"""Name of the table, inside a file's table, for tests that may pass or fail."""


@functools.cache
def listed() -> Mapping[str, str]:
    """Return the reason for each test that always fails, by the test's id."""
    return {id: reason for id, reason in _entries() if isinstance(reason, str)}


@functools.cache
def hurried() -> Mapping[str, str]:
    """Return the reason for each test that fails on a slow machine, by its id."""
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
