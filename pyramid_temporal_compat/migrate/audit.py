"""Reads the sources of an application, and collects what the rules find in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from types import ModuleType

from ..exceptions import ImproperlyConfigured
from . import commands, ini_files, packaging
from .findings import Finding, Kind, SourceFile, TaskPlace, is_test, not_ignored
from .rules import ORDER, RULES, Fix, Severity

TEXT_RULES: dict[Kind, Callable[[SourceFile], Iterator[Finding]]] = {
    Kind.INI: ini_files.findings,
    Kind.COMMANDS: commands.findings,
    Kind.REQUIREMENTS: packaging.requirements,
    Kind.PYPROJECT: packaging.pyproject,
    Kind.PYTEST: packaging.pytest_settings,
}
OF_TWO_KOMBUS = (
    "This application sends messages of its own through kombu. Where the name is about them, leave the import. "
    "Where it is about tasks, change it: an error of `delay` is one of this package's."
)


@dataclass
class Audit:
    """The result of reading an application: its findings, and its task functions."""

    findings: list[Finding] = field(default_factory=list)
    tasks: list[TaskPlace] = field(default_factory=list)
    classes_of_apps: set[str] = field(default_factory=set)
    """The classes of tasks that name no `base=`."""
    files: set[str] = field(default_factory=set)
    """The files that have a finding. A finding about a loaded application or a broker is about no file."""
    unreadable: list[str] = field(default_factory=list)
    """A sentence for each file that could not be read."""

    def add(self, found: Iterable[Finding]) -> None:
        self.findings.extend(found)

    def has(self, least: Severity) -> bool:
        """Tell whether a finding is as severe as `least`, or more."""
        return any(ORDER[each.severity] <= ORDER[least] for each in self.findings)

    def sorted(self) -> list[Finding]:
        return sorted(self.findings, key=lambda each: (each.path, each.line, each.rule.code, each.detail))


def audit(files: Iterable[SourceFile]) -> Audit:
    """Return what the rules find in the files. No file is imported."""
    result = Audit()
    for file in files:
        _read(file, result)
    if sends_messages(result.findings):
        result.findings = [beside_messages(each) for each in result.findings]
    result.add(shared_names(result))
    return result


def findings_of(file: SourceFile, *, real_kombu: bool = False) -> list[Finding]:
    """Return what the rules find in one file. The rewriter asks again after each round of edits."""
    alone = Audit()
    _read(file, alone)
    found = alone.sorted()
    return [beside_messages(each) for each in found] if real_kombu else found


def sends_messages(findings: Iterable[Finding]) -> bool:
    """Tell whether the application sends messages of its own through kombu."""
    return any(each.rule.code == "PTC104" for each in findings)


def beside_messages(finding: Finding) -> Finding:
    """Return the finding as it is in an application with messages of its own: its uses of kombu may be for them."""
    if finding.rule.code != "PTC101" or "kombu" not in finding.detail:
        return finding
    fix = Fix.NONE if finding.fix is Fix.NONE else Fix.UNSAFE
    return replace(finding, fix=fix, sentence=OF_TWO_KOMBUS)


def _read(file: SourceFile, result: Audit) -> None:
    found = _python(file, result) if file.kind is Kind.PYTHON else list(TEXT_RULES[file.kind](file))
    if found:
        result.files.add(file.path)
    result.add(not_ignored(file, found))


def _python(file: SourceFile, result: Audit) -> list[Finding]:
    python = python_rules()
    read = python.read(file)
    if isinstance(read, str):
        result.unreadable.append(read)
        return []
    if read is None:
        return []
    result.tasks.extend(read.tasks)
    result.classes_of_apps |= read.classes_of_apps
    findings: list[Finding] = read.findings
    return findings


def python_rules() -> ModuleType:
    """Return the module that reads Python. libcst is an extra, so it is imported when the first file is read."""
    try:
        from . import python_rules as module
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "libcst":
            raise
        raise ImproperlyConfigured(
            "reading Python files needs libcst: pip install 'pyramid-temporal-compat[migrate]'"
        ) from None
    return module


def shared_names(result: Audit) -> Iterator[Finding]:
    """Yield a finding for each written task name that stands at functions of two folders. Tests are left out."""
    by_name: dict[str, list[TaskPlace]] = defaultdict(list)
    for task in result.tasks:
        if task.written_name and not is_test(task.path):
            by_name[task.written_name].append(task)
    for name, places in by_name.items():
        if len({PurePath(each.path).parent for each in places}) > 1:
            for place in places[1:]:
                others = ", ".join(f"{other.path}:{other.line}" for other in places if other != place)
                yield Finding(RULES["PTC807"], place.path, place.line, f"{name}, also at {others}")
