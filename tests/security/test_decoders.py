"""The page on decoders lists every decoder in the code, and each bound with its value."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pyramid_temporal_compat

PACKAGE = Path(pyramid_temporal_compat.__file__).parent
PAGE = (PACKAGE.parent / "migration_guide" / "decoders.md").read_text()
DECODERS = {
    "b64decode",
    "BZ2Decompressor",
    "check_json",
    "decompressobj",
    "literal_eval",
    "loads",
    "LZMADecompressor",
    "read_json",
    "unpackb",
    "Unpickler",
    "ZstdDecompressor",
}
UNBOUNDED = re.compile(r"\b(json\.loads?|pickle\.loads?|Unpickler|literal_eval|yaml\.(safe_)?load|unpackb)\b")
OWN_DATA = PAGE.partition("the same application has written")[2]
"""The part of the page that lists decoders without bounds."""
MAKES_THE_BOUNDS = {"payload/bounds.py", "payload/serializers.py"}
OWN_JSON = {"celery_names/serialization.py", "task/task.py"}
"""Only name or call the decoders above."""


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text()


def decoders_in(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return names & DECODERS


def test_the_page_lists_every_module_that_decodes() -> None:
    missing = {name for name, source in modules() if decoders_in(source) and f"`{name}`" not in PAGE} - OWN_JSON
    assert not missing, f"add these to migration_guide/decoders.md, with their bounds: {sorted(missing)}"


def test_every_module_on_the_page_is_there() -> None:
    named = set(re.findall(r"`(\w+/[\w/]+\.py)`", PAGE)) - {"tests/security/test_decoders.py"}
    assert {name for name in named if not (PACKAGE / name).is_file()} <= {"tests/security/test_bombs.py"}


def test_only_the_bounded_decoders_and_those_of_own_data_call_a_decoder_without_bounds() -> None:
    found = {name for name, source in modules() if UNBOUNDED.search(source)} - MAKES_THE_BOUNDS
    missing = {name for name in found if f"`{name}`" not in OWN_DATA}
    assert not missing, f"use payload.bounds.read_json: {sorted(missing)}"


def test_each_bound_on_the_page_has_the_value_that_the_code_has() -> None:
    bounds = re.findall(r"\| `([\w/]+)\.py` `([A-Z_]+)` \| ([\d,]+) \|", PAGE)
    assert len(bounds) > 15
    for path, name, value in bounds:
        module = importlib.import_module("pyramid_temporal_compat." + path.replace("/", "."))
        assert getattr(module, name) == int(value.replace(",", "")), f"{path}.py: {name}"
