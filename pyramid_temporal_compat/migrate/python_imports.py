"""Findings about imports of celery, kombu and billiard, and about dotted names in texts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

import libcst as cst

from ..as_celery.name_table import MODULES
from ..celery_names.refused import is_module, sentence_of
from .extensions import AGENT_SETTINGS, AGENTS, extension_sentence
from .findings import Edit, Finding
from .homes import PACKAGE, dotted_home, home, module_home, split
from .python_source import PythonSource, dotted, keyword, leftmost, text_of
from .rules import Fix, Severity

ROOTS = frozenset({"celery", "kombu", "billiard"})
LONGEST_LINE = 100
NOT_RUN = re.compile(r"\bTYPE_CHECKING\b|celery\S*\.(version_info|VERSION|__version__)\s*<")
"""Tests of an `if` whose body does not run here: it is for types, or for a Celery older than the one that is here."""
OPTIONAL = "The name does not exist here, and the program goes on without it. Delete the lines when it is convenient."
IN_TEXT = re.compile(r"(celery|kombu|billiard)(\.[A-Za-z_]\w*)+\Z")
LOGGERS = frozenset({"getLogger", "get_logger", "get_task_logger", "at_level", "set_level"})


def findings(source: PythonSource) -> Iterator[Finding]:
    if elsewhere := _calls_of_others(source):
        yield source.finding("PTC411", elsewhere, source.code(elsewhere.func))
        return
    own_messages = list(_own_messages(source))
    keeps_kombu = bool(own_messages)
    yield from own_messages
    for statement in source.nodes(cst.ImportFrom):
        yield from _from(source, statement, keeps_kombu)
    yield from _plain(source, keeps_kombu)
    yield from _texts(source)


# --- what a name is ---------------------------------------------------------------------------------


def is_own_messaging(name: str) -> bool:
    """Tell whether a name of kombu is for messages of the application's own."""
    return name.startswith("kombu.") and sentence_of(name) is not None and not name.startswith("kombu.utils")


def _has(module: str, name: str) -> bool:
    return home(module, name) is not None or (
        f"{module}.{name}" in MODULES and module_home(f"{module}.{name}") is not None
    )


def _refusal(source: PythonSource, node: cst.CSTNode, name: str) -> Finding:
    """Return the finding about a name that is not here: refused with a reason, or not known at all."""
    sentence = sentence_of(name) or (sentence_of(f"{name}.*") if is_module(name) else None)
    code = "PTC102" if sentence else "PTC103"
    if _is_optional(source, node):
        return source.finding(code, node, name, OPTIONAL, severity=Severity.NOTHING)
    return source.finding(code, node, name, sentence or "")


def _is_optional(source: PythonSource, node: cst.CSTNode) -> bool:
    """Tell whether the program goes on without the name: it is for an old Celery, for types, or may be missing."""
    inside: cst.CSTNode = node
    for each in source.ancestors(node):
        if isinstance(each, cst.If) and inside is each.body and NOT_RUN.search(source.code(each.test)):
            return True
        if isinstance(each, cst.Try) and inside is each.body:
            caught = [source.code(handler.type) for handler in each.handlers if handler.type is not None]
            if any(re.search(r"\b(ImportError|ModuleNotFoundError)\b", text) for text in caught):
                return True
        inside = each
    return False


def _module_of(statement: cst.ImportFrom) -> str:
    return dotted(statement.module) if statement.module is not None and not statement.relative else ""


def _calls_of_others(source: PythonSource) -> cst.Call | None:
    """Return a call that sends a task over a connection of its own, to workers of another application."""
    for call in source.nodes(cst.Call):
        sends = isinstance(call.func, cst.Attribute) and call.func.attr.value in ("send_task", "apply_async")
        if sends and (keyword(call, "connection") is not None or keyword(call, "producer") is not None):
            return call
    return None


# --- kombu ------------------------------------------------------------------------------------------


def _own_messages(source: PythonSource) -> Iterator[Finding]:
    for statement in source.nodes(cst.ImportFrom):
        module = _module_of(statement)
        if module.partition(".")[0] == "kombu" and not isinstance(statement.names, cst.ImportStar):
            names = [f"{module}.{dotted(alias.name)}" for alias in statement.names]
            if own := [name for name in names if is_own_messaging(name)]:
                yield source.finding("PTC104", statement, ", ".join(own))
    for node in _uses(source):
        name = source.imported(node) or ""
        if is_own_messaging(name) and isinstance(leftmost(node), cst.Name) and dotted(node) == name:
            yield source.finding("PTC104", node, name)


# --- from x import y --------------------------------------------------------------------------------


def _from(source: PythonSource, statement: cst.ImportFrom, keeps_kombu: bool) -> Iterator[Finding]:
    module = _module_of(statement)
    root = module.partition(".")[0]
    if sentence := extension_sentence(root):
        yield source.finding("PTC106", statement, module, sentence)
    if AGENTS.match(module):
        yield source.finding("PTC107", statement, module)
    if root not in ROOTS:
        return
    if isinstance(statement.names, cst.ImportStar):
        yield source.finding(
            "PTC101", statement, f"from {module} import *", "Name what is imported, so that it can be found."
        )
        return
    aliases = list(statement.names)
    if root == "kombu" and keeps_kombu:
        stays = [dotted(alias.name) for alias in aliases if not is_own_messaging(f"{module}.{dotted(alias.name)}")]
        if stays:
            sentence = "It stays an import of the real kombu, which this file uses for messages of its own."
            yield source.finding("PTC104", statement, ", ".join(stays), sentence, severity=Severity.NOTHING)
        return
    here = [alias for alias in aliases if _has(module, dotted(alias.name))]
    split_up = [alias for alias in aliases if alias not in here and f"{module}.{dotted(alias.name)}" in MODULES]
    for alias in aliases:
        if alias not in here and alias not in split_up:
            yield _refusal(source, alias, f"{module}.{dotted(alias.name)}")
    for alias in split_up:
        yield from _module_alias(source, statement, alias, f"{module}.{dotted(alias.name)}", alone=len(aliases) == 1)
    if here:
        detail = f"from {module} import {', '.join(dotted(alias.name) for alias in here)}"
        left = [alias for alias in aliases if alias not in here]
        yield source.finding(
            "PTC101", statement, detail, fix=Fix.SAFE, edits=[_swapped(source, statement, module, here, left)]
        )


def _swapped(
    source: PythonSource,
    statement: cst.ImportFrom,
    module: str,
    here: list[cst.ImportAlias],
    left: list[cst.ImportAlias],
) -> Edit:
    """Return the edit that imports the names from here, and the others as before."""
    homes: dict[str, list[str]] = defaultdict(list)
    renamed = False
    for alias in here:
        name = dotted(alias.name)
        place = home(module, name)
        if place is not None:
            home_module, ours = place
        else:
            home_module, _, ours = (module_home(f"{module}.{name}") or "").rpartition(".")
        local = alias.evaluated_alias or name
        renamed = renamed or ours != name
        homes[home_module].append(ours if ours == local else f"{ours} as {local}")
    if len(homes) == 1 and not left and not renamed and statement.module is not None:
        return source.replacement(statement.module, next(iter(homes)))  # comments and line ends inside stay
    lines = [_import_line(place, names, source.indent(statement)) for place, names in homes.items()]
    if left:
        lines.append(
            _import_line(module, [source.code(alias).rstrip(" ,") for alias in left], source.indent(statement))
        )
    return source.replacement(statement, _joined(source, statement, lines))


def _import_line(module: str, names: list[str], indent: str) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(indent) + len(line) <= LONGEST_LINE:
        return line
    inside = "".join(f"{indent}    {name},\n" for name in names)
    return f"from {module} import (\n{inside}{indent})"


def _joined(source: PythonSource, statement: cst.CSTNode, lines: Iterable[str]) -> str:
    """Join new statements that replace one statement. They get lines of their own if the statement had one."""
    line = source.parent(statement)
    alone = isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1
    return (f"\n{source.indent(statement)}" if alone else "; ").join(lines)


# --- import x, and modules under a local name -------------------------------------------------------


def _uses(source: PythonSource) -> Iterator[cst.CSTNode]:
    """Yield the longest dotted names outside of imports that an import of Celery, kombu or billiard gave."""
    for node in [*source.nodes(cst.Attribute), *source.nodes(cst.Name)]:
        parent = source.parent(node)
        if isinstance(parent, (cst.Attribute, cst.ImportAlias, cst.ImportFrom, cst.AsName)):
            continue
        if isinstance(parent, (cst.Arg, cst.Param)) and getattr(parent, "keyword", None) is node:
            continue
        if (source.imported(node) or "").partition(".")[0] in ROOTS and source.around(node, cst.ImportFrom) is None:
            yield node


def _uses_of(source: PythonSource, local: str) -> list[cst.CSTNode]:
    return [node for node in _uses(source) if isinstance(first := leftmost(node), cst.Name) and first.value == local]


def _plain(source: PythonSource, keeps_kombu: bool) -> Iterator[Finding]:
    """Findings about `import celery`, `import celery.signals` and `import celery as c`."""
    explicit: dict[str, set[str]] = defaultdict(set)
    found: list[tuple[cst.Import, cst.ImportAlias, str]] = []
    for statement in source.nodes(cst.Import):
        for alias in statement.names:
            module = dotted(alias.name)
            root = module.partition(".")[0]
            if sentence := extension_sentence(root):
                yield source.finding("PTC106", alias, module, sentence)
            if AGENTS.match(module):
                yield source.finding("PTC107", alias, module)
            if root in ROOTS and not (root == "kombu" and keeps_kombu):
                found.append((statement, alias, module))
                if alias.asname is None:
                    explicit[root].add(module)
    for statement, alias, module in found:
        if alias.asname is not None:
            yield from _module_alias(source, statement, alias, module, alone=len(statement.names) == 1)
        else:
            yield from _module_import(source, statement, alias, module, explicit[module.partition(".")[0]])


def _module_import(
    source: PythonSource, statement: cst.Import, alias: cst.ImportAlias, module: str, explicit: set[str]
) -> Iterator[Finding]:
    """One `import a.b` without `as`. It answers for the uses that no other import of the file names more exactly."""
    local = module.partition(".")[0]
    uses = {node: source.imported(node) or "" for node in _uses_of(source, local)}
    mine = {node: name for node, name in uses.items() if _owner(name, explicit) == module}
    places = {node: dotted_home(name) for node, name in mine.items()}
    for node, name in mine.items():
        if places[node] is None and not is_own_messaging(name) and isinstance(node, cst.Attribute):
            yield _refusal(source, node, name)
    if module not in MODULES:
        yield _refusal(source, alias, module)
        return
    everything_here = all(dotted_home(name) is not None for name in uses.values())
    edits: list[Edit] = []
    if everything_here and len(statement.names) == 1:
        needed = dict.fromkeys(_module_to_import(name) for name in mine.values()) or {PACKAGE: None}
        edits = [source.replacement(statement, _joined(source, statement, [f"import {each}" for each in needed]))]
        edits += [source.replacement(node, place) for node, place in places.items() if place is not None]
    yield source.finding("PTC101", statement, f"import {module}", fix=Fix.SAFE, edits=edits)


def _owner(name: str, explicit: set[str]) -> str:
    """Return the imported module that a dotted name belongs to: the longest one that begins it."""
    return max((each for each in explicit if f"{name}.".startswith(f"{each}.")), key=len, default="")


def _module_to_import(name: str) -> str:
    """Return our module to import for a dotted name of Celery that has a home here."""
    found = None if name in MODULES else split(name)
    place = home(found.module, found.name) if found is not None else None
    return place.module if place is not None else module_home(name) or PACKAGE


def _module_alias(
    source: PythonSource, statement: cst.Import | cst.ImportFrom, alias: cst.ImportAlias, module: str, *, alone: bool
) -> Iterator[Finding]:
    """A module of Celery under a local name: `import celery as c`, or `from celery import result`."""
    local = alias.evaluated_alias or dotted(alias.name)
    uses = {node: source.imported(node) or "" for node in _uses_of(source, local)}
    places = {node: dotted_home(name) if name != module else None for node, name in uses.items()}
    for node, name in uses.items():
        if places[node] is None and isinstance(node, cst.Attribute):
            yield _refusal(source, node, name)
    if module not in MODULES:
        yield _refusal(source, alias, module)
        return
    edits: list[Edit] = []
    if alone and all(places.values()):
        modules = {_module_to_import(name) for name in uses.values()}
        same = all(
            place == f"{_module_to_import(uses[node])}.{uses[node][len(module) + 1 :]}"
            for node, place in places.items()
        )
        if len(modules) <= 1 and same:
            whole = next(iter(modules), None) or module_home(module) or PACKAGE
            edits = [source.replacement(statement, f"import {whole} as {local}")]
        else:
            lines = [f"import {each}" for each in sorted(modules)]
            edits = [source.replacement(statement, _joined(source, statement, lines))]
            edits += [source.replacement(node, place) for node, place in places.items() if place is not None]
    yield source.finding("PTC101", statement, f"{module} as {local}", fix=Fix.SAFE, edits=edits)


# --- texts ------------------------------------------------------------------------------------------


def _texts(source: PythonSource) -> Iterator[Finding]:
    for node in source.nodes(cst.SimpleString):
        value = text_of(node)
        if value in AGENT_SETTINGS:
            yield source.finding("PTC107", node, value)
        if value is None or not IN_TEXT.match(value) or isinstance(source.parent(node), (cst.Expr, cst.Annotation)):
            continue
        call = source.around(node, cst.Call)
        if call is not None and dotted(call.func).rpartition(".")[2] in LOGGERS:
            continue
        if _is_key(source, node):
            continue
        found = split(value)
        known = value in MODULES or (found is not None and found.name in MODULES.get(found.module, {}))
        place = dotted_home(value)
        if place is not None:
            start, end = source.span(node)
            quote = 1 if len(node.quote) == 1 else 3
            edit = Edit(start + len(node.prefix) + quote, end - quote, place)
            yield source.finding("PTC105", node, value, fix=Fix.UNSAFE, edits=[edit])
        elif is_own_messaging(value):
            yield source.finding("PTC104", node, value)
        elif known or sentence_of(value):
            sentence = sentence_of(value) or ""
            yield source.finding("PTC105", node, value, sentence)


def _is_key(source: PythonSource, text: cst.SimpleString) -> bool:
    """Tell whether a text is a key, as in `registry["celery.app"]`. A key of `sys.modules` names a module."""
    held = source.around(text, cst.Subscript)
    return (
        isinstance(source.parent(text), cst.Index) and held is not None and not dotted(held.value).endswith("modules")
    )
