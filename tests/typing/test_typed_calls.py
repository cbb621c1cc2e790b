"""Tasks and context activities keep a function's parameters and result, so type checkers find wrong calls."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[2]


def wrong_lines(file: Path) -> set[int]:
    return {number for number, line in enumerate(file.read_text().splitlines(), 1) if line.endswith("# error")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["calls.py", "native_calls.py", "workflow_calls.py"])
@pytest.mark.parametrize(
    "checker",
    [
        pytest.param(["mypy", "--strict", "--no-error-summary", "--follow-imports=silent"], id="mypy"),
        pytest.param(["basedpyright", "--level", "error"], id="pyright"),
    ],
)
def test_type_checkers_find_the_wrong_calls_and_no_others(checker: list[str], name: str, tmp_path: Path) -> None:
    file = HERE / name
    wrong = wrong_lines(file)
    assert len(wrong) > 10
    program, *options = checker
    config = tmp_path / "pyrightconfig.json"
    config.write_text(f'{{"include": ["{file}"], "extraPaths": ["{ROOT}"], "typeCheckingMode": "standard"}}')
    where = ["--project", str(config), "--pythonpath", sys.executable] if program == "basedpyright" else [str(file)]
    ended = subprocess.run(
        [sys.executable, "-m", program, *options, *where], capture_output=True, text=True, cwd=ROOT, timeout=280
    )
    output = ended.stdout + ended.stderr
    found = {int(line) for line in re.findall(rf"{re.escape(name)}:(\d+)(?::\d+)?:? (?:- )?error", output)}
    assert found == wrong, output
