"""Findings about subclasses of `Task`, their methods, and the inside of result backends."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from .findings import Edit, Finding
from .python_source import AN_APP, OF_CELERY, PythonSource, dotted, keyword, text_of
from .rules import Fix

TASK_CLASSES = re.compile(rf"{OF_CELERY}\.(Abortable)?Task\Z")
APP_CLASSES = re.compile(rf"{OF_CELERY}\.Celery\Z")
AROUND = ("__new__", "__init__", "__call__")
SENDING = ("apply_async", "delay", "apply", "retry", "send_task", "signature_from_request")
HOOKS = ("before_start", "on_success", "on_retry", "on_failure", "after_return")
RESULT_TABLES = re.compile(r"\bcelery_tasks?(et)?_?meta\b|celery-task-meta-")

ADDS_REQUEST = (
    "The functions of these tasks take the request as their first argument, so the class stays. Let `__call__` pass "
    "`self.pyramid_request`. Delete what makes a request, runs the function in a transaction, or waits for the commit."
)
REQUEST_MAKERS = frozenset({"prepare", "bootstrap", "get_app", "webapp_bootstrap", "request_context", "make_request"})
TRANSACTION = re.compile(
    r"\.tm\b|\btm\.(begin|commit|abort)|transaction\.(manager|commit|abort|begin)|AfterCommitHook|addBeforeCommitHook"
)


def findings(source: PythonSource) -> Iterator[Finding]:
    tasks = task_classes(source)
    for node in tasks:
        yield from _of_class(source, node)
    for node in source.nodes(cst.ClassDef):
        if node not in tasks and any(APP_CLASSES.match(source.imported(base.value) or "") for base in node.bases):
            for method in methods(node):
                if method.name.value in SENDING:
                    yield source.finding("PTC302", method, f"{node.name.value}.{method.name.value}")
    yield from _backends(source)


def task_classes(source: PythonSource) -> list[cst.ClassDef]:
    """Return the classes that derive from Celery's Task, also through another class of the file."""
    found: list[cst.ClassDef] = []
    names: set[str] = set()
    for node in source.nodes(cst.ClassDef):
        for base in node.bases:
            written = dotted(base.value)
            imported = source.imported(base.value) or ""
            of_an_app = re.search(rf"{AN_APP}\.Task\Z", written)
            if TASK_CLASSES.match(imported) or of_an_app or written in names:
                found.append(node)
                names.add(node.name.value)
                break
    return found


def classes_of(source: PythonSource, task: cst.FunctionDef) -> frozenset[str]:
    """Return the class that a task names with `base=`, and the classes of the file that this class derives from."""
    calls = [each.decorator for each in task.decorators if isinstance(each.decorator, cst.Call)]
    return _with_bases(source, [base for call in calls if (base := keyword(call, "base")) is not None])


def classes_of_apps(source: PythonSource) -> frozenset[str]:
    """Return the classes of tasks that name no `base=`. `Celery(task_cls=…)` or `app.Task = …` names such a class."""
    named = [given for call in source.nodes(cst.Call) if (given := keyword(call, "task_cls")) is not None]
    for assign in source.nodes(cst.Assign):
        if re.search(rf"{AN_APP}\.Task\Z", dotted(assign.targets[0].target)):
            named.append(assign.value)
    return _with_bases(source, named)


def _with_bases(source: PythonSource, classes: list[cst.BaseExpression]) -> frozenset[str]:
    """Return the names of classes, and of the classes of the file that they derive from."""
    waiting = [_last_name(each) for each in classes]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            here = [node for node in source.nodes(cst.ClassDef) if node.name.value == name]
            waiting += [_last_name(base.value) for node in here for base in node.bases]
    return frozenset(found)


def _last_name(node: cst.BaseExpression) -> str:
    """Return the last part of a dotted name. A text, such as `task_cls="shop:Base"`, counts as a name."""
    return re.split(r"[.:]", text_of(node) or dotted(node))[-1]


def methods(node: cst.ClassDef) -> list[cst.FunctionDef]:
    return [each for each in node.body.body if isinstance(each, cst.FunctionDef)]


def _of_class(source: PythonSource, node: cst.ClassDef) -> Iterator[Finding]:
    glue = _glue_of(source, node)
    if glue:
        names = ", ".join(f"{node.name.value}.{method.name.value}" for method in glue)
        if any(_adds_an_argument(source, method) for method in glue):
            yield source.finding("PTC204", node, names, ADDS_REQUEST)
        else:
            edits = _without_class(source, node) if is_only_glue(source, node) else []
            yield source.finding("PTC204", node, names, fix=Fix.UNSAFE, edits=edits, removes=node.name.value)
    for method in methods(node):
        name = method.name.value
        detail = f"{node.name.value}.{name}"
        if method in glue:
            continue
        if name in AROUND:
            yield source.finding("PTC301", method, detail)
        elif name in SENDING:
            yield source.finding("PTC302", method, detail)
        elif name in HOOKS:
            yield source.finding("PTC303", method, detail)
    for statement in node.body.body:
        if isinstance(statement, cst.SimpleStatementLine):
            for each in statement.body:
                if isinstance(each, cst.Assign) and dotted(each.targets[0].target) in ("Request", "Strategy"):
                    yield source.finding("PTC304", each, f"{node.name.value}.{dotted(each.targets[0].target)}")


def _glue_of(source: PythonSource, node: cst.ClassDef) -> list[cst.FunctionDef]:
    """Return the methods of a class that are glue, and the methods that call a glue method."""
    direct = [method for method in methods(node) if is_glue(source, method)]
    names = {f"self.{method.name.value}" for method in direct}
    return [
        method
        for method in methods(node)
        if method in direct
        or (method.name.value in AROUND and any(dotted(call.func) in names for call in source.within(method, cst.Call)))
    ]


def _adds_an_argument(source: PythonSource, method: cst.FunctionDef) -> bool:
    """Tell whether `__call__` gives the function more than its own arguments: a request before them."""
    return any(
        method.name.value == "__call__"
        and dotted(call.func) in ("super.__call__", "self.run")
        and bool(call.args)
        and not (call.args[0].star and isinstance(call.args[0].value, cst.Name))
        and call.args[0].keyword is None
        for call in source.within(method, cst.Call)
    )


def is_glue(source: PythonSource, method: cst.FunctionDef) -> bool:
    """Tell whether a method gives the task a request or a transaction, or waits for a commit to send it."""
    called = {dotted(call.func).rpartition(".")[2] for call in source.within(method, cst.Call)}
    return bool(called & REQUEST_MAKERS) or bool(TRANSACTION.search(source.code(method)))


def is_only_glue(source: PythonSource, node: cst.ClassDef) -> bool:
    """Tell whether a task class has nothing but glue, and properties that give its request."""
    for statement in node.body.body:
        if isinstance(statement, cst.FunctionDef):
            gives_request = "request" in statement.name.value and bool(statement.decorators)
            if not is_glue(source, statement) and not gives_request:
                return False
        elif isinstance(statement, cst.SimpleStatementLine):
            if not all(_is_mark(each) for each in statement.body):
                return False
        else:
            return False
    return True


def _is_mark(statement: cst.BaseSmallStatement) -> bool:
    """Tell whether a statement of a class is a docstring, `pass`, or `abstract = True`."""
    if isinstance(statement, cst.Assign):
        return dotted(statement.targets[0].target) in ("abstract", "_request")
    return isinstance(statement, (cst.Expr, cst.Pass))


def _without_class(source: PythonSource, node: cst.ClassDef) -> list[Edit]:
    """Return the edits that remove a class and the arguments that name it; no edit if something else names it."""
    name = node.name.value
    edits = [source.removal(node)]
    start, end = source.span(node)
    for use in source.nodes(cst.Name):
        at, _ = source.span(use)
        if use.value != name or start <= at < end:
            continue
        argument = source.parent(use)
        if (
            not isinstance(argument, cst.Arg)
            or argument.keyword is None
            or argument.keyword.value not in ("base", "task_cls")
        ):
            return []
        call = source.parent(argument)
        if not isinstance(call, cst.Call):
            return []
        edits.append(without_argument(source, call, argument))
    return edits


def without_argument(source: PythonSource, call: cst.Call, argument: cst.Arg) -> Edit:
    """Return the edit that removes one argument of a call, with the comma that separates it."""
    at = list(call.args).index(argument)
    start, end = source.span(argument)
    if at:
        comma = source.file.text.rfind(",", 0, start)
        return Edit(comma, source.span(argument.value)[1], "")
    if len(call.args) > 1:
        return Edit(start, source.span(call.args[1])[0], "")
    return Edit(start, end, "")


def _backends(source: PythonSource) -> Iterator[Finding]:
    texts: list[cst.SimpleString | cst.FormattedStringText]
    texts = [*source.nodes(cst.SimpleString), *source.nodes(cst.FormattedStringText)]
    for text in texts:
        if found := RESULT_TABLES.search(text.value):
            yield source.finding("PTC305", text, found.group())
    for node in source.nodes(cst.Attribute):
        written = dotted(node)
        if re.search(r"(^|\.)(app|celery|celery_app|current_app|self)\.backend\Z", written) and (
            not written.startswith("self.") or source.task_of(node)
        ):
            yield source.finding("PTC305", node, written)
    for target in source.nodes(cst.AssignTarget):
        if "BACKEND_ALIASES" in source.code(target):
            yield source.finding("PTC305", target, source.code(target))
