"""The page on security names settings and tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_temporal_compat.settings.table import SETTINGS

PAGE = (Path(__file__).parents[2] / "migration_guide" / "security.md").read_text()
TESTS = Path(__file__).parents[1]


def test_the_tests_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"`((?:\w+/)?test_\w+\.py)`", PAGE))
    assert len(named) > 8
    for name in named:
        assert any((folder / name).is_file() for folder in (TESTS, TESTS / "security")), name


def test_the_settings_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"ptemporal\.(\w+)(?![\w*])", PAGE))
    assert len(named) > 5
    own = {name.removeprefix("ptemporal_").removeprefix("ptemporal.") for name in SETTINGS}
    assert named <= own, named - own
