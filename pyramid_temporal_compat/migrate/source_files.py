"""Finds the files of an application that the audit reads, and says what kind each is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..exceptions import ImproperlyConfigured
from .findings import Kind, SourceFile

LARGEST = 2_000_000
"""Bytes of the largest file that is read. A larger file holds data, and is only named."""
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
        (r".*(requirements|constraints).*\.(txt|in)$", Kind.REQUIREMENTS),
        (r"(procfile|dockerfile|containerfile).*$|.*\.(dockerfile|containerfile)$", Kind.COMMANDS),
        (
            r".*\.(service|sh|bash|conf|mk)$|makefile$|.*\.(json|ya?ml)([.-](sample|example|dist|tmpl|j2|in))?$",
            Kind.COMMANDS,
        ),
        (r"crontab.*$|.*\.cron(tab)?$|.*\.env(\.(sample|example|dist))?$", Kind.COMMANDS),
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


class Sources(NamedTuple):
    """The source files of an application."""

    files: list[SourceFile]
    unreadable: list[str]
    """A sentence for each file that has the name of a source, and could not be read."""


def source_files(paths: Iterable[str]) -> Sources:
    """Read the source files below the paths, in a fixed order. A file that is named itself is read in any case."""
    found = Sources([], [])
    for path, kind in _sources_below(paths):
        try:
            found.files.append(_read(path, kind))
        except (OSError, ValueError) as error:
            found.unreadable.append(f"{path}: {getattr(error, 'strerror', None) or error}")
    return found


def _sources_below(paths: Iterable[str]) -> Iterator[tuple[Path, Kind]]:
    for name in paths:
        path = Path(name)
        if path.is_file():
            kind = kind_of(path)
            if kind is None:
                raise ImproperlyConfigured(
                    f"{name} is no kind of file that is read here: name Python files, ini files, requirements, "
                    "Procfiles, unit files, Dockerfiles, shell scripts, or folders that hold them"
                )
            yield path, kind
        elif path.is_dir():
            for file in sorted(_below(path)):
                if (kind := kind_of(file)) is not None:
                    yield file, kind
        else:
            raise ImproperlyConfigured(f"there is no file or folder {name!r}")


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.endswith(".egg-info")]
        for name in files:
            path = Path(parent, name)
            if not path.is_symlink():
                yield path


def _read(path: Path, kind: Kind) -> SourceFile:
    """Read a file. Raise OSError or ValueError if it can't be read, or is not UTF-8."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes")
    with path.open(encoding="utf-8", newline="") as file:  # the line ends are kept
        return SourceFile(os.fspath(path), file.read(), kind)
