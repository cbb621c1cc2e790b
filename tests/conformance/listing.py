"""The tests of the suite that fail here, each with its reason: `listed.toml`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@functools.cache
def listed() -> Mapping[str, str]:
    """The reasons, by the tests' ids."""
    tables = tomllib.loads((Path(__file__).parent / "listed.toml").read_text())
    return {f"t/integration/{file}::{test}": reason for file, tests in tables.items() for test, reason in tests.items()}
