"""CONTRIBUTING.md, and the pages of the guide on the code, name files and make targets that exist."""

from __future__ import annotations

import re

import pytest

from tests.parts import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
FOLDERS = (
    ROOT,
    ROOT / "pyramid_temporal_compat",
    ROOT / "pyramid_temporal_compat" / "worker" / "pools",
    ROOT / "pyramid_temporal_compat" / "worker" / "workflows",
    ROOT / "tests",
)


@pytest.mark.parametrize("page", ["migration_guide/how_it_works.md", "migration_guide/pools.md"])
def test_every_module_that_a_page_on_the_code_names_exists(page):
    named = set(re.findall(r"`([\w/]+\.py|(?:\w+/)+)`", (ROOT / page).read_text()))
    assert named
    assert {name for name in named if not any((folder / name).exists() for folder in FOLDERS)} == set()


def test_every_file_that_the_page_names_exists():
    named = set(re.findall(r"`([\w/]+\.(?:py|toml|md)|(?:\w+/)+)`", PAGE))
    assert len(named) > 30
    assert {name for name in named if not any((folder / name).exists() for folder in FOLDERS)} <= {"dist/"}


def test_every_make_target_that_the_page_names_exists():
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([\w-]+)", PAGE)) <= targets


def test_the_map_has_every_folder_of_the_package():
    folders = {path.name for path in (ROOT / "pyramid_temporal_compat").iterdir() if (path / "__init__.py").is_file()}
    assert {name for name in folders if f"{name}/" not in PAGE} == set()
