"""Findings about glue: the code that gives tasks a request, a transaction and a commit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import libcst as cst

from .findings import Edit, Finding
from .python_source import AN_APP, PythonSource, dotted, text_of
from .python_task_classes import REQUEST_MAKERS, TRANSACTION, task_classes
from .rules import Fix, Severity

SENDERS = frozenset({"delay", "apply_async", "send_task"})
SIGNAL = re.compile(r"(?:celery|pyramid_temporal_compat)\.signals\.(\w+)(?:\.connect)?\Z")
ENDS = re.compile(
    r"(^|\.)(tm|transaction|manager|session|dbsession|db|Session|DBSession)(\(\))?\.(commit|abort|rollback|begin|close|remove|doom)\Z"
)
STARTING = frozenset(
    {
        "beat_init",
        "celeryd_after_setup",
        "celeryd_init",
        "import_modules",
        "setup_logging",
        "user_preload_options",
        "worker_init",
        "worker_process_init",
    }
)
LOADERS = REQUEST_MAKERS | {"setup_logging", "create_app", "make_wsgi_app", "get_appsettings", "fileConfig", "loadapp"}
KEPT_BY_GLUE = re.compile(r"\.(request|registry|request_context|pyramid_request|webapp|ini|pyramid_app|settings|env)\Z")
APP_REQUEST = re.compile(rf"{AN_APP}\.(request|pyramid_request)\Z")
KEPT_REGISTRY = (
    "pyramid_celery keeps Pyramid's registry in `app.conf` under this key. Here the key is not set, so "
    "`conf.get()` gives its default. Take `pyramid.threadlocal.get_current_registry()` in a task."
)
LOGGING = re.compile(r"(^|\.)(log|logger|logging|LOG)\.\w+\Z", re.IGNORECASE)


def findings(source: PythonSource) -> Iterator[Finding]:
    classes = task_classes(source)
    yield from _commit_hooks(source, classes)
    yield from _receivers(source)
    yield from _requests_in_tasks(source)
    yield from _blocks(source)
    yield from _pyramid_celery(source)
    yield from _ini_options(source)


# --- after-commit hooks -----------------------------------------------------------------------------


def _commit_hooks(source: PythonSource, classes: Sequence[cst.ClassDef]) -> Iterator[Finding]:
    functions = {node.name.value: node for node in source.nodes(cst.FunctionDef)}
    for call in source.nodes(cst.Call):
        if dotted(call.func).rpartition(".")[2] != "addAfterCommitHook" or not call.args:
            continue
        if any(each in classes for each in source.ancestors(call)):
            continue  # a base class that holds tasks back: one finding for the class
        hook = call.args[0].value
        named = functions.get(dotted(hook))
        sent = _sent_by(source, named if named is not None else hook)
        if isinstance(hook, cst.Call):  # functools.partial(task.delay, …)
            sent += [source.code(each.value) for each in hook.args[:1] if _is_sender(each.value)]
        if _is_sender(hook):
            sent.append(source.code(hook))
        if sent:
            fix, edits = _direct_call(source, call, hook)
            yield source.finding("PTC201", call, sent[0], fix=fix, edits=edits)
    for function in source.nodes(cst.FunctionDef):
        listens = [each for each in function.decorators if "after_commit" in source.code(each)]
        if listens and (sent := _sent_by(source, function)):
            yield source.finding("PTC201", function, sent[0])


def _is_sender(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Attribute) and node.attr.value in SENDERS


def _sent_by(source: PythonSource, node: cst.CSTNode) -> list[str]:
    return [source.code(each.func) for each in source.within(node, cst.Call) if _is_sender(each.func)]


def _direct_call(source: PythonSource, call: cst.Call, hook: cst.BaseExpression) -> tuple[Fix, list[Edit]]:
    """Return the edit that calls the task where the hook was added; no edit if the hook does more than that."""
    if not isinstance(hook, cst.Lambda) or len(call.args) > 1 or not isinstance(source.parent(call), cst.Expr):
        return Fix.NONE, []
    parameters = hook.params.params
    if not parameters or not all(_binds_itself(each) for each in parameters[1:]):
        return Fix.NONE, []
    sending = _if_committed(hook.body, parameters[0].name.value)
    if not isinstance(sending, cst.Call) or not _is_sender(sending.func):
        return Fix.NONE, []
    safe = all(_is_the_same_later(each.value) for each in sending.args)
    return Fix.SAFE if safe else Fix.UNSAFE, [source.replacement(call, source.code(sending))]


def _binds_itself(parameter: cst.Param) -> bool:
    """Tell whether a parameter is `x=x`, which keeps the value of now."""
    return isinstance(parameter.default, cst.Name) and parameter.default.value == parameter.name.value


def _if_committed(body: cst.BaseExpression, flag: str) -> cst.BaseExpression | None:
    """Return what `flag and x`, or `x if flag else None`, does after a commit."""
    if isinstance(body, cst.BooleanOperation) and isinstance(body.operator, cst.And) and dotted(body.left) == flag:
        return body.right
    if isinstance(body, cst.IfExp) and dotted(body.test) == flag and dotted(body.orelse) == "None":
        return body.body
    return None


def _is_the_same_later(node: cst.BaseExpression) -> bool:
    """Tell whether an expression means the same before the commit: a name or a literal, and no attribute of a row."""
    if isinstance(node, (cst.List, cst.Tuple)):
        return all(_is_the_same_later(each.value) for each in node.elements)
    if isinstance(node, cst.Dict):
        return all(isinstance(each, cst.DictElement) and _is_the_same_later(each.value) for each in node.elements)
    return isinstance(node, (cst.Name, cst.SimpleString, cst.Integer, cst.Float))


# --- receivers of signals ---------------------------------------------------------------------------


def _signal_of(source: PythonSource, node: cst.CSTNode) -> str | None:
    """Return the signal that a decorator connects to."""
    named = node.func if isinstance(node, cst.Call) else node
    found = SIGNAL.match(source.imported(named) or "")
    return found.group(1) if found and isinstance(named, cst.Attribute) and named.attr.value == "connect" else None


def _receivers(source: PythonSource) -> Iterator[Finding]:
    functions = {node.name.value: node for node in source.nodes(cst.FunctionDef)}
    for function in source.nodes(cst.FunctionDef):
        for decorator in function.decorators:
            if signal := _signal_of(source, decorator.decorator):
                alone = len(function.decorators) == 1
                yield _receiver(source, function, signal, removable=alone)
    for call in source.nodes(cst.Call):
        if isinstance(source.parent(call), cst.Decorator) or not call.args:
            continue
        if (signal := _signal_of(source, call)) and (named := functions.get(dotted(call.args[0].value))):
            yield _receiver(source, named, signal, removable=False)


def _receiver(source: PythonSource, function: cst.FunctionDef, signal: str, *, removable: bool) -> Finding:
    detail = f"{function.name.value} ({signal})"
    removal = [source.removal(function)] if removable else []
    if _ends_a_transaction(source, function):
        return source.finding("PTC203", function, detail, fix=Fix.UNSAFE, edits=removal, removes=function.name.value)
    if signal in STARTING and (kept := _loads_the_application(source, function)) is not None:
        edits = [] if kept & {"request", "request_context", "pyramid_request"} else removal
        return source.finding("PTC202", function, detail, fix=Fix.UNSAFE, edits=edits, removes=function.name.value)
    return source.finding("PTC208", function, detail)


def _statements(source: PythonSource, function: cst.FunctionDef) -> list[cst.BaseSmallStatement]:
    """Return the small statements of a function, without docstrings, `pass` and log lines."""
    lines = source.within(function.body, cst.SimpleStatementLine)
    found = [statement for line in lines for statement in line.body]
    return [each for each in found if not _does_nothing(each)]


def _does_nothing(statement: cst.BaseSmallStatement) -> bool:
    if isinstance(statement, cst.Expr):
        value = statement.value
        return text_of(value) is not None or (isinstance(value, cst.Call) and bool(LOGGING.search(dotted(value.func))))
    return isinstance(statement, (cst.Pass, cst.Import, cst.ImportFrom)) or (
        isinstance(statement, cst.Return) and statement.value is None
    )


def _ends_a_transaction(source: PythonSource, function: cst.FunctionDef) -> bool:
    statements = _statements(source, function)
    ends = [each for each in statements if isinstance(each, cst.Expr) and ENDS.search(dotted(each.value))]
    return bool(ends) and len(ends) == len(statements)


def _loads_the_application(source: PythonSource, function: cst.FunctionDef) -> set[str] | None:
    """Return the attributes in which a receiver keeps what it loaded. None if it does something else, too."""
    kept: set[str] = set()
    loads = False
    for statement in _statements(source, function):
        calls = {dotted(each.func).rpartition(".")[2] for each in source.within(statement, cst.Call)}
        loads = loads or bool(calls & LOADERS)
        if isinstance(statement, cst.Assign):
            for target in statement.targets:
                if found := KEPT_BY_GLUE.search(dotted(target.target)):
                    kept.add(found.group(1))
    return kept if loads or kept else None


# --- requests and blocks in tasks -------------------------------------------------------------------


def _requests_in_tasks(source: PythonSource) -> Iterator[Finding]:
    seen: set[tuple[str, str, int]] = set()
    for call in source.nodes(cst.Call):
        task = source.task_of(call)
        name = dotted(call.func).rpartition(".")[2]
        makes = (task and name in REQUEST_MAKERS) or (
            name == "request_context" and isinstance(call.func, cst.Attribute)
        )
        if makes and (task, name, 0) not in seen:
            seen.add((task, name, 0))
            yield source.finding("PTC205", call, f"{dotted(call.func)}()")
    for node in source.nodes(cst.Attribute):
        written = dotted(node)
        if not APP_REQUEST.search(written) or isinstance(source.parent(node), cst.AssignTarget):
            continue
        function = source.around(node, cst.FunctionDef)
        key = (function.name.value if function else "", written, 1)
        if key not in seen and function is not None and "flask" not in (source.imported(node) or ""):
            seen.add(key)
            yield source.finding("PTC205", node, written)


def _blocks(source: PythonSource) -> Iterator[Finding]:
    for task in source.tasks:
        blocks = [each for each in source.within(task, cst.WithItem) if TRANSACTION.search(source.code(each.item))]
        ends = [each for each in source.within(task, cst.Call) if TRANSACTION.search(dotted(each.func))]
        if found := [*blocks, *ends]:
            yield source.finding("PTC206", found[0], source.code(found[0]).splitlines()[0])


# --- pyramid_celery, and the option for the ini -----------------------------------------------------


def _pyramid_celery(source: PythonSource) -> Iterator[Finding]:
    for statement in source.nodes(cst.ImportFrom):
        if (
            statement.module is not None
            and dotted(statement.module) == "pyramid_celery"
            and not isinstance(statement.names, cst.ImportStar)
        ):
            names = [dotted(alias.name) for alias in statement.names]
            edits = []
            if names == ["celery_app"]:
                local = statement.names[0].evaluated_alias or "celery_app"
                edits = [source.replacement(statement, f"from pyramid_temporal_compat import current_app as {local}")]
            yield source.finding("PTC207", statement, ", ".join(names), fix=Fix.UNSAFE, edits=edits)
    for plain in source.nodes(cst.Import):
        for alias in plain.names:
            if dotted(alias.name).partition(".")[0] == "pyramid_celery":
                yield source.finding("PTC207", alias, f"import {dotted(alias.name)}")
    yield from _kept_registry(source)
    for call in source.nodes(cst.Call):
        name = dotted(call.func).rpartition(".")[2]
        first = call.args[0].value if call.args else None
        if name == "include" and text_of(first) == "pyramid_celery" and first is not None:
            edit = source.replacement(first, '"pyramid_temporal_compat"')
            yield source.finding("PTC207", call, 'include("pyramid_celery")', fix=Fix.UNSAFE, edits=[edit])
        if name == "configure_celery" and isinstance(call.func, cst.Attribute):
            edits = [source.removal(source.statement(call))]
            yield source.finding("PTC207", call, "configure_celery", fix=Fix.UNSAFE, edits=edits)


def _kept_registry(source: PythonSource) -> Iterator[Finding]:
    """Findings about the registry that pyramid_celery keeps among Celery's settings."""
    texts = [
        each for each in source.nodes(cst.SimpleString) if text_of(each) in ("PYRAMID_REGISTRY", "pyramid_registry")
    ]
    members = [each for each in source.nodes(cst.Attribute) if dotted(each).endswith(".conf.pyramid_registry")]
    for node in [*texts, *members]:
        yield source.finding("PTC207", node, "PYRAMID_REGISTRY", KEPT_REGISTRY, severity=Severity.CHANGES)


def _ini_options(source: PythonSource) -> Iterator[Finding]:
    for call in source.nodes(cst.Call):
        code = source.code(call)
        if (
            "user_options" in source.code(call.func)
            and dotted(call.func).rpartition(".")[2] == "add"
            and "--ini" in code
        ):
            edits = [source.removal(source.statement(call))]
            yield source.finding("PTC209", call, "user_options --ini", fix=Fix.UNSAFE, edits=edits)
