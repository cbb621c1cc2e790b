"""Findings about apps, their settings, and periodic tasks in Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

import libcst as cst

from ..celery_names.refused import MEMBERS
from ..settings.table import CELERY_NAMES, NAMES, celery_name
from .findings import Finding, is_test
from .python_source import AN_APP, PythonSource, dotted, keyword, text_of
from .python_task_classes import APP_CLASSES
from .rules import Severity
from .settings_rules import said_of

CONF = re.compile(r"(^|\.)(app|celery|celery_app|current_app|capp)\.(conf|config)\Z")
APP = re.compile(rf"{AN_APP}\Z")
SCHEDULE_CLASSES = re.compile(r"(celery|pyramid_temporal_compat)\.schedules\.(\w+\.)?(BaseSchedule|schedule|crontab)\Z")
SCHEDULERS = re.compile(r"celery\.beat\.\w*Scheduler\Z|pyramid_temporal_compat\.schedules\.\w+\.\w*Scheduler\Z")
TIMES = frozenset({"is_due", "remaining_estimate", "remaining_delta"})
FEWEST = 3
"""Names of settings that make a module or a class one of Celery's configuration."""


def findings(source: PythonSource) -> Iterator[Finding]:
    yield from _apps(source)
    yield from _refused_members(source)
    for key, value in _settings(source):
        for said in said_of(_key(key), source.code(value), own_section=False):
            yield source.finding(said.code, key, _key(key), said.sentence)
    yield from _periodic(source)
    yield from _decorators(source)


def _key(node: cst.CSTNode) -> str:
    if isinstance(node, cst.Attribute):
        return node.attr.value
    return text_of(node) or dotted(node)


# --- apps -------------------------------------------------------------------------------------------


def _apps(source: PythonSource) -> Iterator[Finding]:
    for call in source.nodes(cst.Call):
        name = dotted(call.func).rpartition(".")[2]
        if APP_CLASSES.match(source.imported(call.func) or ""):
            named = text_of(call.args[0].value) if call.args else None
            inside = source.around(call, cst.FunctionDef)
            where = f" in {inside.name.value}()" if inside else ""
            severity = Severity.NOTHING if is_test(source.file.path) else None
            code = "PTC402" if inside else "PTC401"
            yield source.finding(code, call, f"Celery({named or ''}){where}", severity=severity)
        elif name in ("config_from_object", "config_from_envvar"):
            yield source.finding("PTC407", call, source.code(call).splitlines()[0])
    for target in source.nodes(cst.AssignTarget):
        written = source.code(target.target)
        if re.search(r"registry(\.celery\w*|\[[\"']celery[\w.]*[\"']\])\Z", written):
            yield source.finding("PTC402", target, written)


def _refused_members(source: PythonSource) -> Iterator[Finding]:
    """Members of an app that are refused here, such as `app.Beat`, where the app is no imported module."""
    for node in source.nodes(cst.Attribute):
        sentence = MEMBERS.get(f"celery.Celery.{node.attr.value}")
        if sentence and APP.search(dotted(node.value)) and not (source.imported(node) or "").startswith("celery."):
            yield source.finding("PTC102", node, dotted(node), sentence)


# --- settings ---------------------------------------------------------------------------------------


def _settings(source: PythonSource) -> Iterator[tuple[cst.CSTNode, cst.BaseExpression]]:
    """Yield key and value of each setting: of `app.conf`, of a settings module, of a settings class."""
    for call in source.nodes(cst.Call):
        sets = isinstance(call.func, cst.Attribute) and call.func.attr.value in ("update", "add_defaults")
        if sets and isinstance(call.func, cst.Attribute) and _is_conf(source, call.func.value):
            yield from _of_call(call)
    for assign in source.nodes(cst.Assign):
        target = assign.targets[0].target
        if isinstance(target, cst.Attribute) and _is_conf(source, target.value):
            yield target, assign.value
        elif isinstance(target, cst.Subscript) and _is_conf(source, target.value):
            index = target.slice[0].slice
            if isinstance(index, cst.Index) and text_of(index.value):
                yield index.value, assign.value
    for body in _bodies(source):
        yield from body


def _is_conf(source: PythonSource, node: cst.BaseExpression) -> bool:
    """Tell whether this is the `conf` of an app: `app.conf`, or `registry["celery.app"].conf`."""
    if CONF.search(dotted(node)):
        return True
    held = node.value if isinstance(node, cst.Attribute) and node.attr.value == "conf" else None
    return isinstance(held, cst.Subscript) and "celery" in source.code(held)


def _of_call(call: cst.Call) -> Iterator[tuple[cst.CSTNode, cst.BaseExpression]]:
    for argument in call.args:
        if argument.keyword is not None:
            yield argument.keyword, argument.value
        elif isinstance(argument.value, cst.Dict):
            for element in argument.value.elements:
                if isinstance(element, cst.DictElement) and text_of(element.key):
                    yield element.key, element.value


def _bodies(source: PythonSource) -> Iterator[list[tuple[cst.CSTNode, cst.BaseExpression]]]:
    """Yield the assignments of each module or class that holds Celery's settings."""
    holders: list[cst.Module | cst.ClassDef] = [source.module, *source.nodes(cst.ClassDef)]
    for holder in holders:
        pairs: list[tuple[cst.CSTNode, cst.BaseExpression]] = [
            (each.targets[0].target, each.value)
            for each in source.within(holder, cst.Assign)
            if isinstance(each.targets[0].target, cst.Name) and _scope(source, each) is holder
        ]
        known = sum(dotted(key) in CELERY_NAMES or _is_old(dotted(key)) for key, _ in pairs)
        named = isinstance(holder, cst.Module) and PurePath(source.file.path).name == "celeryconfig.py"
        if named or known >= FEWEST:
            yield pairs


def _scope(source: PythonSource, node: cst.CSTNode) -> cst.CSTNode:
    """Return the module, class or function that a statement belongs to, also from under an `if` or a `try`."""
    return next(
        each for each in source.ancestors(node) if isinstance(each, (cst.Module, cst.ClassDef, cst.FunctionDef))
    )


def _is_old(name: str) -> bool:
    return name.isupper() and NAMES.get(name) is not None and celery_name(name) is not None and "CELERY" in name


def _decorators(source: PythonSource) -> Iterator[Finding]:
    for function in source.tasks:
        for decorator in function.decorators:
            call = decorator.decorator
            if not isinstance(call, cst.Call):
                continue
            late, serializer = keyword(call, "acks_late"), keyword(call, "serializer")
            if late is not None and dotted(late) == "False":
                yield source.finding("PTC409", function, f"acks_late=False of {function.name.value}")
            if serializer is not None and text_of(serializer) in ("pickle", "yaml"):
                yield source.finding("PTC808", function, f"serializer of {function.name.value}")


# --- periodic tasks ---------------------------------------------------------------------------------


def _periodic(source: PythonSource) -> Iterator[Finding]:
    for call in source.nodes(cst.Call):
        written = dotted(call.func)
        if written.endswith(".add_periodic_task"):
            yield source.finding("PTC502", call, "add_periodic_task")
        elif re.search(r"(beat_schedule|CELERYBEAT_SCHEDULE)\.(update|setdefault)\Z", written):
            yield source.finding("PTC502", call, written)
    for target in source.nodes(cst.AssignTarget):
        node = target.target
        if isinstance(node, cst.Subscript) and re.search(r"(beat_schedule|CELERYBEAT_SCHEDULE)\Z", dotted(node.value)):
            yield source.finding("PTC502", target, source.code(node))
    for decorated in source.nodes(cst.Decorator):
        if dotted(decorated.decorator).rpartition(".")[2] == "periodic_task":
            yield source.finding("PTC502", decorated, "periodic_task")
    for call in source.nodes(cst.Call):
        if re.search(r"schedules\.(\w+\.)?solar\Z", source.imported(call.func) or ""):
            yield source.finding("PTC505", call, source.code(call).splitlines()[0])
    for kind in source.nodes(cst.ClassDef):
        if any(SCHEDULERS.match(source.imported(base.value) or "") for base in kind.bases):
            yield source.finding("PTC503", kind, kind.name.value)
        if any(SCHEDULE_CLASSES.match(source.imported(base.value) or "") for base in kind.bases):
            own = {each.name.value for each in kind.body.body if isinstance(each, cst.FunctionDef)} & TIMES
            if own:
                yield source.finding("PTC505", kind, f"{kind.name.value}.{min(own)}")
