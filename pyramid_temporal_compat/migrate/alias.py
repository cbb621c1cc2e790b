"""Puts `install_as_celery()` first into the packages of an application, so that no import has to change."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from .findings import Kind, SourceFile

USES_CELERY = re.compile(r"^\s*(from|import)\s+(celery|kombu|billiard)\b", re.MULTILINE)
CALL = "install_as_celery"


def with_alias(files: list[SourceFile], *, real_kombu: bool) -> dict[str, str]:
    """Return the new text of each package's `__init__.py` that needs the call.

    `real_kombu` means that the application sends messages of its own through kombu, so `import kombu` stays as it is.
    """
    python = {file.path: file.text for file in files if file.kind is Kind.PYTHON}
    found: dict[str, str] = {}
    for init in _packages(python):
        folder = str(PurePath(init).parent)
        texts = [text for path, text in python.items() if PurePath(folder) in PurePath(path).parents]
        if CALL not in python[init] and any(USES_CELERY.search(text) for text in texts):
            found[init] = _with_call(python[init], real_kombu=real_kombu)
    return found


def _packages(python: Iterable[str]) -> Iterator[str]:
    """Yield the `__init__.py` of each package that is in no other package. Packages of tests are left out."""
    inits = {str(PurePath(path).parent): path for path in python if PurePath(path).name == "__init__.py"}
    for folder, init in inits.items():
        if str(PurePath(folder).parent) not in inits and PurePath(folder).name not in ("tests", "test"):
            yield init


def _with_call(text: str, *, real_kombu: bool) -> str:
    """Return a module with the call before everything but the docstring and the imports of `__future__`."""
    line = 0
    for statement in ast.parse(text).body:
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and line == 0
        future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
        if not docstring and not future:
            break
        line = statement.end_lineno or line
    lines = text.splitlines(keepends=True)
    before, after = "".join(lines[:line]), "".join(lines[line:])
    call = f"import pyramid_temporal_compat\n\npyramid_temporal_compat.{CALL}({'kombu=False' if real_kombu else ''})\n"
    head = f"{before.rstrip()}\n\n" if before.strip() else ""
    return f"{head}{call}" + (f"\n{after.lstrip(chr(10))}" if after.strip() else "")
