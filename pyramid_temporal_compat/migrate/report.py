"""Prints what the audit found: a summary first, then the findings by file, or all of it as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from ..log_lines.text_safety import one_line
from .audit import Audit
from .findings import Finding, TaskPlace
from .rules import ORDER, RULES, Fix, Severity

MOST_BLOCKING = 10
HARD = frozenset({Severity.BLOCKS, Severity.CHANGES})
GUIDE = "migration_guide/rules.md"


def as_json(audit: Audit) -> str:
    return json.dumps([finding.as_json() for finding in audit.sorted()], indent=2)


def as_text(audit: Audit, *, everything: bool) -> Iterator[str]:
    """Yield the lines of the report. Without `everything`, findings with nothing to do are only counted."""
    yield from summary(audit)
    shown = [each for each in audit.sorted() if everything or each.severity is not Severity.NOTHING]
    path = None
    for finding in shown:
        if finding.path != path:
            path = finding.path
            yield f"\n{path}"
        fix = "" if finding.fix is Fix.NONE else f" [{finding.fix.value} fix]"
        yield one_line(f"  {finding.line}: {finding.rule.code} {finding.severity.value}{fix}: {finding.message}")
    if audit.unreadable:
        yield ""
        yield from not_read(audit.unreadable)
    if shown:
        yield f"\nEach code has a part of its own on the page of rules ({GUIDE})."


def not_read(unreadable: Iterable[str]) -> Iterator[str]:
    """Yield a line for each file that could not be read."""
    for sentence in unreadable:
        yield one_line(f"not read: {sentence}")


def summary(audit: Audit) -> Iterator[str]:
    """Yield the lines that matter most: how much moves without a change, how long the rest takes, what blocks."""
    found = audit.findings
    if tasks := len(audit.tasks):
        moved = tasks - sum(1 for _ in changed_tasks(audit))
        yield f"Tasks: {tasks}, of which {moved} ({100 * moved // tasks} %) move without a change of their code."
    by_hand = {each.path for each in found if each.minutes} & audit.files
    yield f"Files that use Celery: {len(audit.files)}, of which {len(by_hand)} need a look."
    yield f"Findings: {len(found)}. " + ", ".join(_counts(found)) + "." if found else "Findings: none."
    safe = sum(each.fix is Fix.SAFE for each in found)
    unsafe = sum(each.fix is Fix.UNSAFE for each in found)
    yield f"`migrate rewrite` mends {safe} of them, and {unsafe} more with --unsafe."
    yield f"By hand: about {minutes(found)} minutes, by our measure."
    blocking = [each for each in found if each.severity is Severity.BLOCKS]
    if not blocking:
        yield "Nothing blocks."
        return
    yield "What blocks:"
    for (code, detail), number in Counter((each.rule.code, each.detail) for each in blocking).most_common(
        MOST_BLOCKING
    ):
        yield one_line(f"  {code} {RULES[code].title}: {detail}" + (f" ({number} places)" if number > 1 else ""))


def changed_tasks(audit: Audit) -> Iterator[TaskPlace]:
    """Yield the tasks that do not move as they are, because of their own code or of their class."""
    hard = [each for each in audit.findings if each.severity in HARD]
    functions = {(each.path, each.task) for each in hard if each.task}
    classes = {each.in_class for each in hard if each.in_class and not each.task}
    for task in audit.tasks:
        if (task.path, task.name) in functions or (task.classes or audit.classes_of_apps) & classes:
            yield task


def minutes(found: list[Finding]) -> int:
    """Return how long the work by hand takes.

    The second place of the same thing takes a third of the time, or none if one change mends all of them.
    """
    total = 0.0
    for (code, _), number in Counter((each.rule.code, each.detail) for each in found if each.minutes).items():
        rule = RULES[code]
        total += rule.minutes * (1 if rule.once else 1 + (number - 1) / 3)
    return round(total)


def _counts(found: list[Finding]) -> Iterator[str]:
    counts = Counter(each.severity for each in found)
    for severity in sorted(counts, key=ORDER.__getitem__):
        yield f"{counts[severity]} {severity.value}"
