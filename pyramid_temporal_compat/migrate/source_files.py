"""Finds the files of an application that the audit reads, and says what kind each is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..exceptions import ImproperlyConfigured
from .findings import Kind, SourceFile

LARGEST = 2_000_000
"""Bytes of the largest file that is read. A larger one is data."""
LEFT_OUT = frozenset(
    {
        ".git",
        ".hg",
        ".svn",
        ".tox",
        ".nox",
        ".venv",
        "venv",
        "env",
        ".eggs",
        ".cache",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        "__pycache__",
        "node_modules",
        "site-packages",
        "build",
        "dist",
    }
)
"""Folders that hold no source of the application."""

KINDS: tuple[tuple[re.Pattern[str], Kind], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r".*\.pyi?$", Kind.PYTHON),
        (r"(pytest|tox)\.ini$|setup\.cfg$", Kind.PYTEST),
        (r"(supervisord?.*|circus.*)\.(conf|ini)$|.*\.supervisord?\.conf$", Kind.COMMANDS),
        (r".*\.ini(\.(example|sample|dist|in|tmpl|j2|mako))?$", Kind.INI),
        (r"pyproject\.toml$", Kind.PYPROJECT),
        (r".*(requirements|constraints)[^/]*\.(txt|in)$|requirements/[^/]*\.(txt|in)$", Kind.REQUIREMENTS),
        (r"(procfile|dockerfile|containerfile)[^/]*$|.*\.(dockerfile|containerfile)$", Kind.COMMANDS),
        (r".*\.(service|sh|bash|conf|mk)$|makefile$|.*\.(json|ya?ml)$", Kind.COMMANDS),
    )
)
SHEBANG = re.compile(r"#!.*\b(ba|da|z|k)?sh\b")


def kind_of(path: Path) -> Kind | None:
    """Return what kind of source a file is, by its name; a script without an ending by its first line."""
    if path.parent.name == "requirements" and path.suffix in (".txt", ".in"):
        return Kind.REQUIREMENTS
    for pattern, kind in KINDS:
        if pattern.match(path.name):
            return kind
    if not path.suffix and path.is_file():
        with path.open("rb") as file:
            return Kind.COMMANDS if SHEBANG.match(file.readline(200).decode("utf-8", "replace")) else None
    return None


def source_files(paths: Iterable[str]) -> Iterator[SourceFile]:
    """Yield the source files below the paths, in a fixed order. A file that is named itself is read in any case."""
    for name in paths:
        path = Path(name)
        if path.is_file():
            kind = kind_of(path)
            if kind is None:
                raise ImproperlyConfigured(
                    f"{name} is no kind of file that is read here: name Python files, ini files, requirements, "
                    "Procfiles, unit files, Dockerfiles, shell scripts, or folders that hold them"
                )
            if (found := _read(path, kind)) is not None:
                yield found
        elif path.is_dir():
            for file in sorted(_below(path)):
                if (kind := kind_of(file)) is not None and (found := _read(file, kind)) is not None:
                    yield found
        else:
            raise ImproperlyConfigured(f"there is no file or folder {name!r}")


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.endswith(".egg-info")]
        for name in files:
            path = Path(parent, name)
            if not path.is_symlink():
                yield path


def _read(path: Path, kind: Kind) -> SourceFile | None:
    try:
        if path.stat().st_size > LARGEST:
            return None
        with path.open(encoding="utf-8", newline="") as file:  # the line ends are kept
            return SourceFile(os.fspath(path), file.read(), kind)
    except (OSError, UnicodeDecodeError):
        return None
