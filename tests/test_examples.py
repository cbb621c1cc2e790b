"""The example systems of the guide: each passes its own tests."""

from pathlib import Path

import pytest

from .test_example import GUIDE, run

SYSTEMS = sorted(path.parent for path in (GUIDE / "examples").glob("*/pyproject.toml"))


@pytest.mark.integration
@pytest.mark.parametrize("home", SYSTEMS, ids=lambda home: home.name)
def test_system_passes_its_own_tests(home: Path) -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=home, path=[home])
    assert done.returncode == 0, done.stdout + done.stderr
