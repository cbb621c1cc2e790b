"""What the audit finds: a rule, a place, a sentence, and the edits that mend it."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from .rules import Fix, Rule, Severity

IGNORE = re.compile(r"(?:#|;|//|<!--)\s*ptc:\s*ignore(?:\[(?P<codes>[^\]]*)\])?", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Edit:
    """Replace the text from `start` to `end` by `text`. The offsets count characters of the file."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Finding:
    rule: Rule
    path: str
    line: int
    detail: str
    """The name, the setting or the command that was found."""
    sentence: str = ""
    """What happens here, if the rule's own sentence is not exact enough: the reason of a refused name."""
    fix: Fix = Fix.NONE
    edits: tuple[Edit, ...] = ()
    task: str = ""
    """The task function that holds the place, if any."""
    in_class: str = ""
    """The class that holds the place, if any."""
    removes: str = ""
    """The function or class that the edits remove. They are not made if another file names it."""
    severity_here: Severity | None = None
    """The severity of this place, if it differs from the rule's."""

    @property
    def severity(self) -> Severity:
        return self.severity_here or self.rule.severity

    @property
    def message(self) -> str:
        return f"{self.detail}: {self.sentence or f'{self.rule.here} {self.rule.todo}'}"

    @property
    def minutes(self) -> int:
        """How long a person needs for what `rewrite --unsafe` leaves."""
        return 0 if self.fix is not Fix.NONE or self.severity is Severity.NOTHING else self.rule.minutes

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.rule.code,
            "severity": self.severity.value,
            "path": self.path,
            "line": self.line,
            "message": self.message,
            "fix": self.fix.value,
        }


class TaskPlace(NamedTuple):
    """A task function, and where it is."""

    path: str
    line: int
    function: str
    written_name: str | None
    """The name that its decorator gives. None if Celery makes the name from module and function."""
    classes: frozenset[str] = frozenset()
    """The class that its decorator names with `base=`, and the base classes of this class in the same file."""

    @property
    def name(self) -> str:
        """The name of the task, as far as its own file tells the name."""
        return self.written_name or self.function


class Kind(enum.Enum):
    """The kinds of source files that the audit reads."""

    PYTHON = "python"
    INI = "ini"
    COMMANDS = "commands"
    REQUIREMENTS = "requirements"
    PYPROJECT = "pyproject"
    PYTEST = "pytest"


@dataclass(frozen=True)
class SourceFile:
    """A file as it was read. Its line ends are kept: `text` holds what the file holds."""

    path: str
    text: str
    kind: Kind

    def line_at(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1

    def line_span(self, line: int) -> tuple[int, int]:
        """Return where the line with this number starts and where the next line starts."""
        start = 0
        for _ in range(line - 1):
            start = self.text.find("\n", start) + 1
        end = self.text.find("\n", start)
        return start, len(self.text) if end < 0 else end + 1


def is_test(path: str) -> bool:
    """Tell whether a path is a test's: in a folder `tests`, or with a name such as `test_x.py` or `x_test.py`."""
    *folders, name = PurePath(path).parts
    stem = PurePath(name).stem
    return bool({"test", "tests"} & {*folders, stem}) or stem == "conftest" or bool(re.match(r"test_|.*_test\Z", stem))


def not_ignored(file: SourceFile, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings whose line has no `ptc: ignore` comment for them."""
    lines = file.text.splitlines()
    return [each for each in findings if not _ignored(each, lines[each.line - 1] if each.line <= len(lines) else "")]


def _ignored(finding: Finding, line: str) -> bool:
    comment = IGNORE.search(line)
    if comment is None:
        return False
    codes = comment["codes"]
    return codes is None or finding.rule.code in re.split(r"[\s,]+", codes.strip().upper())


def applied(text: str, edits: Iterable[Edit]) -> str:
    """Return `text` with the edits made. Of two edits that overlap, the first one is made."""
    parts: list[str] = []
    position = 0
    for edit in sorted(set(edits)):
        if edit.start >= position:
            parts += [text[position : edit.start], edit.text]
            position = edit.end
    return "".join([*parts, text[position:]])
