"""Reads the settings of a module, such as celeryconfig.py, without importing it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..exceptions import ImproperlyConfigured
from ..settings.table import SETTINGS, celery_name
from ..settings.values import words, words_or_json
from .ini_convert import as_json_lines


class ModuleSettings(NamedTuple):
    pairs: list[tuple[str, str]]
    """Name of each setting, and its value as an ini file has it."""
    notes: list[str]


class Stays(Exception):
    """A setting can't be carried over. The message says why."""


def _computed() -> Stays:
    """Return the error about a value that only running the module would tell."""
    return Stays("its value is computed there")


def settings_of(text: str, path: str) -> ModuleSettings:
    """Return the settings that a module assigns. One that is computed is named in a note."""
    found = ModuleSettings([], [])
    try:
        module = ast.parse(text, path)
    except (SyntaxError, ValueError) as error:
        raise ImproperlyConfigured(f"--from-module {path} is no Python that can be read: {error}") from None
    for target, value, line in _assignments(module):
        name = celery_name(target)
        if name is None:
            continue
        try:
            found.pairs.append((name, _written(name, _literal(value))))
        except Stays as reason:
            found.notes.append(f"{target} stays in {path}:{line}: {reason}")
    return found


def _assignments(module: ast.Module) -> Iterator[tuple[str, ast.expr, int]]:
    for statement in module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            yield statement.targets[0].id, statement.value, statement.lineno
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            yield statement.target.id, statement.value, statement.lineno


def _literal(node: ast.expr) -> Any:
    """Return the value of an expression. `crontab(…)` and `timedelta(…)` become what the ini has for them."""
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise _computed()
        pairs = [(_literal(key), _literal(value)) for key, value in zip(node.keys, node.values, strict=True) if key]
        if not all(isinstance(key, str) for key, _ in pairs):
            raise Stays("its value is a dict with keys that are no text, which an ini file can't hold")
        return dict(pairs)
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [_literal(each) for each in node.elts]
    if isinstance(node, ast.Call):
        return _called(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _literal(node.left), _literal(node.right)
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return left * right
        raise _computed()
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _computed() from None


def _called(node: ast.Call) -> Any:
    name = ast.unparse(node.func).rpartition(".")[2]
    fields = {each.arg: _literal(each.value) for each in node.keywords if each.arg}
    if name in ("crontab", "timedelta") and not node.args:
        return {name: fields}
    if name == "Queue" and len(node.args) == 1:
        return _literal(node.args[0])
    raise _computed()


def _written(name: str, value: Any) -> str:
    """Return a value as an ini file has it. A percent sign is doubled, because ini files use it for variables."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = value
    elif (
        isinstance(value, list)
        and SETTINGS[name].kind in (words, words_or_json)
        and all(isinstance(each, str) for each in value)
    ):
        text = " ".join(value)
    else:
        try:
            text = f"\n{as_json_lines(value)}".rstrip() if isinstance(value, dict) else json.dumps(value)
        except TypeError:
            raise Stays("an ini file can't hold its value") from None
    return text.replace("%", "%%")
