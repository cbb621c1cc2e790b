"""`Task[P, R]` keeps a function's parameters and result, so type checkers find wrong calls."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CALLS = Path(__file__).parent / "calls.py"
ROOT = Path(__file__).parents[2]
WRONG = {number for number, line in enumerate(CALLS.read_text().splitlines(), 1) if line.endswith("# error")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "checker",
    [
        pytest.param(["mypy", "--strict", "--no-error-summary", "--follow-imports=silent"], id="mypy"),
        pytest.param(["basedpyright", "--level", "error"], id="pyright"),
    ],
)
def test_type_checkers_find_the_wrong_calls_and_no_others(checker: list[str], tmp_path: Path) -> None:
    assert len(WRONG) > 10
    program, *options = checker
    config = tmp_path / "pyrightconfig.json"
    config.write_text(f'{{"include": ["{CALLS}"], "extraPaths": ["{ROOT}"], "typeCheckingMode": "standard"}}')
    where = ["--project", str(config)] if program == "basedpyright" else [str(CALLS)]
    ended = subprocess.run(
        [sys.executable, "-m", program, *options, *where], capture_output=True, text=True, cwd=ROOT, timeout=280
    )
    output = ended.stdout + ended.stderr
    found = {int(line) for line in re.findall(r"calls\.py:(\d+)(?::\d+)?:? (?:- )?error", output)}
    assert found == WRONG, output
