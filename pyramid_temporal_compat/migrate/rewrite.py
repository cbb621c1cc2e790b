"""Makes the edits of findings, in rounds, until no finding has an edit."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from .alias import with_alias
from .audit import beside_messages, findings_of, python_rules, sends_messages
from .findings import Finding, Kind, SourceFile, applied
from .rules import RULES, Fix

SWAPS = frozenset({"PTC101", "PTC105"})
"""Rules whose edits change a name of Celery to ours. With an alias they are not needed."""
MOST_ROUNDS = 8
"""Rounds of edits in one file. Each round can make the next one possible: an import that nothing uses any more."""


@dataclass
class Rewritten:
    """A file before and after."""

    before: SourceFile
    after: SourceFile
    fixed: list[Finding] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return self.before.text != self.after.text

    def diff(self) -> str:
        lines = difflib.unified_diff(
            self.before.text.splitlines(keepends=True),
            self.after.text.splitlines(keepends=True),
            f"a/{self.before.path.lstrip('/')}",
            f"b/{self.before.path.lstrip('/')}",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


@dataclass(frozen=True)
class Choice:
    """Which edits are made."""

    unsafe: bool = False
    select: Collection[str] = ()
    """Codes, or beginnings of codes. Empty: all."""
    skip: Collection[str] = ()
    real_kombu: bool = False
    """Whether the application sends messages of its own through kombu."""
    files_with: Mapping[str, int] = field(default_factory=dict)
    """Word to the number of Python files that have it: a name that another file uses is not removed."""

    def has(self, finding: Finding) -> bool:
        code = finding.rule.code
        if code in self.skip or (self.select and not any(code.startswith(each) for each in self.select)):
            return False
        if finding.removes and self.files_with.get(finding.removes, 0) > 1:
            return False
        return bool(finding.edits) and (self.unsafe or finding.fix is Fix.SAFE)


def rewritten(file: SourceFile, choice: Choice, findings: list[Finding] | None = None) -> Rewritten:
    """Return the file with the edits of its findings made that are chosen.

    :param findings: what the rules find in the file, if the caller has read it already. Reading takes most of the time.
    """
    result = Rewritten(file, file)
    if findings is None:
        findings = findings_of(file, real_kombu=choice.real_kombu)
    for _ in range(MOST_ROUNDS):
        wanted = [each for each in findings if choice.has(each)]
        following = _edited(result.after, wanted)
        if following.text == result.after.text:
            break
        result.fixed += wanted
        result.after = following
        findings = findings_of(following, real_kombu=choice.real_kombu)
    if result.changed and file.kind is Kind.PYTHON:
        result.after = replace(file, text=str(python_rules().without_unused(file.text, result.after.text)))
    return result


def _edited(file: SourceFile, findings: list[Finding]) -> SourceFile:
    """Return the file after one round. An edit that would leave no Python is not made."""
    together = replace(file, text=applied(file.text, [edit for each in findings for edit in each.edits]))
    if file.kind is not Kind.PYTHON or compiles(together.text):
        return together
    for finding in findings:
        alone = replace(file, text=applied(file.text, finding.edits))
        if compiles(alone.text):
            return alone
    return file


def compiles(text: str) -> bool:
    """Tell whether this is Python. Newer syntax than the running interpreter's does not count as Python."""
    try:
        compile(text, "<rewritten>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def unknown_codes(select: Collection[str]) -> list[str]:
    """Return the codes of `--select` that no rule has. `PTC1` stands for all codes that begin so."""
    return [code for code in select if not any(rule.startswith(code) for rule in RULES)]


def counted(results: list[Rewritten]) -> Iterator[str]:
    """Yield one line for each rule that was applied."""
    for code in sorted({each.rule.code for result in results for each in result.fixed}):
        number = sum(each.rule.code == code for result in results for each in result.fixed)
        yield f"{code} {RULES[code].title}: {number}"


# --- a whole application ----------------------------------------------------------------------------


def rewrite_all(
    files: list[SourceFile], *, unsafe: bool, select: Collection[str] = (), mode: str = "swap"
) -> list[Rewritten]:
    """Return the files that change, each before and after."""
    python = [file for file in files if file.kind is Kind.PYTHON]
    files_with = Counter(word for file in python for word in set(re.findall(r"\w+", file.text)))
    findings = [findings_of(file) for file in files]
    real_kombu = any(map(sends_messages, findings))
    if real_kombu:
        findings = [[beside_messages(each) for each in found] for found in findings]
    choice = Choice(unsafe, select, SWAPS if mode == "alias" else (), real_kombu, files_with)
    results = [rewritten(file, choice, found) for file, found in zip(files, findings, strict=True)]
    if mode == "alias":
        texts = with_alias([result.after for result in results], real_kombu=real_kombu)
        for result in results:
            result.after = replace(result.after, text=texts.get(result.after.path, result.after.text))
    return [result for result in results if result.changed]
