"""Keeps ../diff.md true: its diff blocks are what `diff` says of the two applications.

`python differences.py` rewrites them; `--check` only tells, with exit code 1, that they are out of date.
"""

import difflib
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "diff.md"
BEFORE, AFTER = "celery", "temporal"
LEFT_BY_A_RUN = re.compile(r"(^|/)(\.|__pycache__|build/|[^/]+\.egg-info)")
BLOCK = re.compile(r"```diff\n(?P<old>--- \S+\n\+\+\+ \S+\n.*?)```\n", re.DOTALL)


def differences() -> dict[str, str]:
    """The unified diff of each file that is not the same in both, by the file's name."""
    paths = {
        name
        for tree in (BEFORE, AFTER)
        for path in (HERE / tree).rglob("*")
        if path.is_file() and not LEFT_BY_A_RUN.search(name := path.relative_to(HERE / tree).as_posix())
    }
    found = {path: _difference(path) for path in sorted(paths)}
    return {path: diff for path, diff in found.items() if diff}


def _difference(path: str) -> str:
    before, after = HERE / BEFORE / path, HERE / AFTER / path
    lines = difflib.unified_diff(
        before.read_text().splitlines(keepends=True) if before.exists() else [],
        after.read_text().splitlines(keepends=True) if after.exists() else [],
        f"{BEFORE}/{path}" if before.exists() else "/dev/null",
        f"{AFTER}/{path}" if after.exists() else "/dev/null",
        n=2,
    )
    return "".join(lines)


def _file_of(block: str) -> str:
    names = [line.split(maxsplit=1)[1] for line in block.splitlines()[:2]]
    name = next(name for name in names if name != "/dev/null")
    return name.partition("/")[2]


def refreshed(page: str, current: dict[str, str]) -> str:
    """The page with each diff block made current; a block whose file no longer differs goes."""

    def block(match: re.Match[str]) -> str:
        diff = current.get(_file_of(match["old"]))
        return f"```diff\n{diff}```\n" if diff else ""

    return BLOCK.sub(block, page)


def main() -> int:
    page, current = PAGE.read_text(), differences()
    shown = {_file_of(match["old"]) for match in BLOCK.finditer(page)}
    missing = sorted(current.keys() - shown)
    if missing:
        print(f"{PAGE.name} has no diff block for {', '.join(missing)}: add one, with its --- and +++ lines.")
        return 1
    if refreshed(page, current) == page:
        return 0
    if "--check" in sys.argv:
        print(f"{PAGE.name} is out of date: run python {Path(__file__).name}")
        return 1
    PAGE.write_text(refreshed(page, current))
    return 0


if __name__ == "__main__":
    sys.exit(main())
