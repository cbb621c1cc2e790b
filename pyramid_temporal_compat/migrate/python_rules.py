"""All rules for Python files. The only module that `audit` loads for them, because libcst is an extra."""

from __future__ import annotations

from typing import NamedTuple

import libcst as cst

from . import python_apps, python_glue, python_imports, python_runs, python_task_classes
from .findings import Finding, SourceFile
from .python_source import RELEVANT, PythonSource

PARTS = (python_imports, python_glue, python_task_classes, python_apps, python_runs)


class Read(NamedTuple):
    findings: list[Finding]
    tasks: list[tuple[str, int]]
    """Name and line of each task function."""
    named: list[tuple[str, int]]
    """Those whose names are written in their decorators."""


def read(file: SourceFile) -> Read | str | None:
    """Return what a file has. None means that the file does not use Celery. A text says why it can't be read."""
    if not RELEVANT.search(file.text):
        return None
    try:
        source = PythonSource(file)
    except (cst.ParserSyntaxError, RecursionError, UnicodeError) as error:
        return f"{file.path} is no Python that can be read: {' '.join(str(error).split())[:200]}"
    found = [finding for part in PARTS for finding in part.findings(source)]
    tasks = [(name, source.line(function)) for function, name in source.tasks.items()]
    named = [(name, source.line(each)) for each in source.tasks if (name := source.written_name(each))]
    return Read(_without_those_inside(source, found), tasks, named)


def _without_those_inside(source: PythonSource, found: list[Finding]) -> list[Finding]:
    """Leave out what is only said of code that another finding removes: its calls, its methods."""
    gone = [
        range(source.file.line_at(edit.start), source.file.line_at(edit.end))
        for finding in found
        if finding.removes
        for edit in finding.edits
        if not edit.text
    ]
    return [each for each in found if each.removes or each.edits or not any(each.line in lines for lines in gone)]


def without_unused(before: str, after: str) -> str:
    """Return `after` without the imports that `before` used and `after` does not."""
    from .unused_imports import without_unused as remove

    return remove(before, after)
