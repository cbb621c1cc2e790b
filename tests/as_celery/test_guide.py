"""The examples on the guide's page work as the page says."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "migration_guide" / "install_as_celery.md"


def test_the_pages_examples_print_what_the_page_says(tmp_path: Path) -> None:
    example = re.search(r"```pycon\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "example.txt").write_text(example[1])
    # In a fresh interpreter, because this one may have the real Celery.
    code = (
        "import doctest, sys; "
        f"sys.exit(doctest.testfile({str(tmp_path / 'example.txt')!r}, False, optionflags={doctest.ELLIPSIS})[0])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout


def test_the_pages_first_lines_run(tmp_path: Path) -> None:
    first = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert first is not None
    ran = subprocess.run([sys.executable, "-c", first[1]], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
