"""Removes the imports that a rewritten file no longer uses. Imports that it did not use before stay."""

from __future__ import annotations

import re
from collections import Counter

import libcst as cst

from .findings import Edit, Kind, SourceFile, applied
from .python_source import PythonSource, dotted


def without_unused(before: str, after: str) -> str:
    """Return `after` without the imports that only code that is gone has used."""
    used_before = {name for name, count in _counts(before).items() if count > 1}
    counts = _counts(after)
    source = PythonSource(SourceFile("", after, Kind.PYTHON))
    edits: list[Edit] = []
    statements: list[cst.Import | cst.ImportFrom] = [*source.nodes(cst.ImportFrom), *source.nodes(cst.Import)]
    for statement in statements:
        if isinstance(statement.names, cst.ImportStar) or source.around(statement, cst.Try) is not None:
            continue
        aliases = list(statement.names)
        gone = [each for each in aliases if counts[_local(each)] <= 1 and _local(each) in used_before]
        if gone and len(gone) == len(aliases):
            line = source.parent(statement)
            if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1:
                edits.append(_line_of(source, line))
        elif gone:
            kept = ", ".join(source.code(each).rstrip(" ,") for each in aliases if each not in gone)
            start = source.span(aliases[0])[0]
            edits.append(Edit(start, source.span(aliases[-1])[1], kept))
    return applied(after, edits)


def _line_of(source: PythonSource, line: cst.SimpleStatementLine) -> Edit:
    """Return the edit that removes an import line, and leaves the comments and empty lines above it."""
    block = source.parent(line)
    if isinstance(block, cst.IndentedBlock) and len(block.body) == 1:
        return source.removal(line)
    text = source.file.text
    start = text.rfind("\n", 0, source.span(line)[0]) + 1
    end = text.find("\n", source.span(line)[1]) + 1 or len(text)
    if text[:start].endswith("\n\n") and text[end : end + 1] == "\n":
        end += 1  # of the two empty lines that would meet, one stays
    return Edit(start, end, "")


def _local(alias: cst.ImportAlias) -> str:
    return alias.evaluated_alias or dotted(alias.name).partition(".")[0]


def _counts(text: str) -> Counter[str]:
    """Return how often each word stands in a text. A name in a text or a comment counts as used."""
    return Counter(re.findall(r"\w+", text))
