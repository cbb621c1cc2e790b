"""The generated pages of the guide are up to date, and say what is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import pyramid_temporal_compat
from pyramid_temporal_compat.as_celery.name_table import MODULES
from pyramid_temporal_compat.cli import group

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "migration_guide"
OUR_IMPORT = re.compile(r"from (?:pyramid_temporal_compat|multiprocessing|socket)[\w.]* import (?:\([^)]*\)|[^`\n(]+)")
CELERY_IMPORT = re.compile(r"`from ((?:celery|kombu|billiard)[\w.]*) import ([^`]+)`")
PROMISED = re.compile(r"`?ptemporal-compat (beat|status|schedule|migrate|workflow|board|dev|health|tasks|queues)\b")


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    module = ModuleType("reference_pages")
    path = GUIDE / "reference_pages.py"
    module.__file__ = str(path)
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("name", ["cli.md", "imports.md", "rules.md"])
def test_the_page_is_up_to_date(pages: Any, name: str) -> None:
    page = (GUIDE / name).read_text()
    assert page == pages.refreshed(page, pages.PAGES[name]()), "run `python migration_guide/reference_pages.py`"


def test_every_import_of_ours_on_the_page_of_imports_works(tmp_path: Path) -> None:
    lines = OUR_IMPORT.findall((GUIDE / "imports.md").read_text())
    assert len(lines) > 80
    # In an interpreter of its own: among the names are fixtures, and modules that other tests must not have loaded.
    (tmp_path / "imports.py").write_text("\n".join(lines))
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", tmp_path / "imports.py"], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr


def test_every_name_of_the_import_table_is_on_the_page() -> None:
    page = (GUIDE / "imports.md").read_text()
    for module, names in MODULES.items():
        if names:
            section = page.partition(f"\n### `{module}`\n")[2].partition("\n### ")[0]
            assert set(names) <= set(re.findall(r"\w+", section)), module


def test_the_common_imports_are_of_names_that_the_table_has() -> None:
    found = CELERY_IMPORT.findall((GUIDE / "imports.md").read_text())
    assert len(found) > 20
    for module, names in found:
        assert set(names.split(", ")) <= set(MODULES[module]), module


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = (GUIDE / "api.md").read_text()
    documented = set(re.findall(r"^\.\. auto\w+:: pyramid_temporal_compat\.(\w+)(?:\(\))?$", page, re.MULTILINE))
    assert documented | {"__version__"} == set(pyramid_temporal_compat.__all__)


def test_no_page_promises_a_command_that_is_not_there() -> None:
    known = set(group.list_commands(click.Context(group)))
    texts = {path: path.read_text() for path in [*GUIDE.glob("**/*.md"), ROOT / "README.md", *ROOT.glob("bench/*.md")]}
    named = {(path.name, command) for path, text in texts.items() for command in PROMISED.findall(text)}
    assert {found for found in named if found[1] not in known} == set()
