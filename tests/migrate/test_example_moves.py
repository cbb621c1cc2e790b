"""The example's two versions differ by what the tool makes, and by the edits that the guide names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyramid_temporal_compat.migrate.audit import audit
from pyramid_temporal_compat.migrate.findings import Kind
from pyramid_temporal_compat.migrate.ini_convert import to_keys
from pyramid_temporal_compat.migrate.report import summary
from pyramid_temporal_compat.migrate.rewrite import rewrite_all
from pyramid_temporal_compat.migrate.source_files import source_files

GUIDE = Path(__file__).parent.parent.parent / "migration_guide"
BEFORE, AFTER = GUIDE / "example" / "celery", GUIDE / "example" / "temporal"
BY_HAND = re.compile(r"^\| `([\w./]+)` \| (.+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def moved() -> dict[str, str]:
    """Return the text of each file after `rewrite --unsafe`, `ini` and the import sorter, by its path."""
    files = source_files([str(BEFORE)]).files
    texts = {file.path: file.text for file in files}
    texts |= {result.after.path: result.after.text for result in rewrite_all(files, unsafe=True)}
    for file in files:
        if file.kind is Kind.INI:
            texts[file.path] = to_keys(texts[file.path], address="localhost:7233").text
    return {name: sorted_imports(name, text) for path, text in texts.items() if (name := relative(path))}


def relative(path: str) -> str:
    return Path(path).relative_to(BEFORE).as_posix()


def sorted_imports(name: str, text: str) -> str:
    if not name.endswith(".py"):
        return text
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--select",
        "I",
        "--fix",
        "--quiet",
        "--stdin-filename",
        AFTER / name,
        "-",
    ]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60).stdout


def test_what_the_tool_leaves_is_what_the_guide_names(moved: dict[str, str]) -> None:
    section = (GUIDE / "migrate.md").read_text().partition("\n## By hand\n")[2]
    named = {name for name, _ in BY_HAND.findall(section)}
    differing = {
        name for name, text in moved.items() if not (AFTER / name).exists() or (AFTER / name).read_text() != text
    }
    assert differing == named


def test_files_without_an_edit_by_hand_are_the_same_in_both(moved: dict[str, str]) -> None:
    for name in ("gallery/tasks.py", "gallery/views.py", "development.ini"):
        assert moved[name] == (AFTER / name).read_text()
        assert moved[name] != (BEFORE / name).read_text()


def test_the_module_of_glue_has_nothing_left_that_a_task_needs(moved: dict[str, str]) -> None:
    left = moved["gallery/celery.py"]
    assert "class " not in left
    assert "signals" not in left
    assert left.count("def ") == 1  # includeme


def test_one_line_is_left_of_the_factory(moved: dict[str, str]) -> None:
    name = "gallery/__init__.py"
    assert moved[name].replace('        config.include(".celery")\n', "") == (AFTER / name).read_text()


def test_the_guide_shows_the_summary_of_the_example() -> None:
    shown = (GUIDE / "migrate.md").read_text().partition("$ ptemporal-compat migrate audit\n")[2].partition("```")[0]
    assert shown == "".join(f"{line}\n" for line in summary(audit(source_files([str(BEFORE)]).files)))
