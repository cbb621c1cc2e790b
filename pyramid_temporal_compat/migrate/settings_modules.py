"""Reads the settings of a module, such as celeryconfig.py, without importing it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..settings.table import SETTINGS, celery_name
from ..settings.values import words, words_or_json
from .ini_convert import as_json_lines


class ModuleSettings(NamedTuple):
    pairs: list[tuple[str, str]]
    """Name of each setting, and its value as an ini file has it."""
    notes: list[str]


class Computed(Exception):
    """A value that only running the module would tell."""


def settings_of(text: str, path: str) -> ModuleSettings:
    """Return the settings that a module assigns. One that is computed is named in a note."""
    found = ModuleSettings([], [])
    for target, value, line in _assignments(ast.parse(text, path)):
        name = celery_name(target)
        if name is None:
            continue
        try:
            found.pairs.append((name, _written(name, _literal(value))))
        except Computed:
            found.notes.append(f"{target} stays in {path}:{line}: its value is computed there")
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
            raise Computed
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [_literal(each) for each in node.elts]
    if isinstance(node, ast.Call):
        return _called(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _literal(node.left), _literal(node.right)
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return left * right
        raise Computed
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise Computed from None


def _called(node: ast.Call) -> Any:
    name = ast.unparse(node.func).rpartition(".")[2]
    fields = {each.arg: _literal(each.value) for each in node.keywords if each.arg}
    if name in ("crontab", "timedelta") and not node.args:
        return {name: fields}
    if name == "Queue" and len(node.args) == 1:
        return _literal(node.args[0])
    raise Computed


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
    elif isinstance(value, dict):
        try:
            text = f"\n{as_json_lines(value)}".rstrip()
        except TypeError:
            raise Computed from None
    else:
        text = json.dumps(value)
    return text.replace("%", "%%")
