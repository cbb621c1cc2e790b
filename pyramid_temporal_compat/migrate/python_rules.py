"""All rules for Python files. The only module that `audit` loads for them, because libcst is an extra."""

from __future__ import annotations

from typing import NamedTuple

import libcst as cst

from . import python_apps, python_glue, python_imports, python_runs, python_task_classes
from .findings import Finding, SourceFile, TaskPlace
from .python_source import RELEVANT, PythonSource
from .unused_imports import without_unused

__all__ = ["Read", "read", "without_unused"]

PARTS = (python_imports, python_glue, python_task_classes, python_apps, python_runs)


class Read(NamedTuple):
    findings: list[Finding]
    tasks: list[TaskPlace]
    classes_of_apps: frozenset[str]
    """The classes of tasks that name no `base=`."""


def read(file: SourceFile) -> Read | str | None:
    """Return what a file has. None means that the file does not use Celery. A text says why it can't be read."""
    if not RELEVANT.search(file.text):
        return None
    try:
        source = PythonSource(file)
    except (cst.ParserSyntaxError, RecursionError, UnicodeError) as error:
        return f"{file.path} is no Python that can be read: {' '.join(str(error).split())[:200]}"
    found = [finding for part in PARTS for finding in part.findings(source)]
    tasks = [
        TaskPlace(
            file.path,
            source.line(each),
            each.name.value,
            source.written_name(each),
            python_task_classes.classes_of(source, each),
        )
        for each in source.tasks
    ]
    return Read(_without_those_inside(source, found), tasks, python_task_classes.classes_of_apps(source))


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
