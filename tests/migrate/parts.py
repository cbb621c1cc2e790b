"""Reads snippets as the audit reads files."""

from __future__ import annotations

import textwrap

from pyramid_temporal_compat.migrate.audit import findings_of
from pyramid_temporal_compat.migrate.findings import Finding, Kind, SourceFile
from pyramid_temporal_compat.migrate.rewrite import Choice, rewritten


def source(text: str, kind: Kind = Kind.PYTHON, path: str = "shop/tasks.py") -> SourceFile:
    return SourceFile(path, textwrap.dedent(text).lstrip("\n"), kind)


def found(text: str, kind: Kind = Kind.PYTHON, path: str = "shop/tasks.py") -> list[Finding]:
    return findings_of(source(text, kind, path))


def codes(text: str, kind: Kind = Kind.PYTHON, path: str = "shop/tasks.py") -> list[str]:
    """Return the codes of what is found, without imports of names that exist here."""
    return [each.rule.code for each in found(text, kind, path) if each.rule.code != "PTC101"]


def after(text: str, kind: Kind = Kind.PYTHON, path: str = "shop/tasks.py", *, unsafe: bool = False) -> str:
    """Return the text after `rewrite`, without the indentation that the test's own text has."""
    file = source(text, kind, path)
    once = rewritten(file, Choice(unsafe)).after
    assert rewritten(once, Choice(unsafe)).after.text == once.text, "a second rewrite changes the file again"
    return once.text


def same(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")
