"""CONTRIBUTING.md names files and make targets that exist."""

from __future__ import annotations

import re

from tests.parts import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
FOLDERS = (
    ROOT,
    ROOT / "pyramid_temporal_compat",
    ROOT / "pyramid_temporal_compat" / "worker" / "pools",
    ROOT / "tests",
)


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
