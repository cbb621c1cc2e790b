"""Findings about what differs when a task is called and runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

import libcst as cst

from .findings import Finding, is_test
from .packaging import setup_requirement
from .python_glue import SENDERS
from .python_source import PythonSource, dotted, keyword, text_of

OUTSIDE = re.compile(
    r"^(requests|httpx|aiohttp)\.(post|put|patch|delete)\Z|^(smtplib|stripe|boto3|twilio|sendgrid|paypalrestsdk)\b|"
    r"(^|\.)(send_?e?mail|send_message|send_immediately|send_sms|sendmail|charge|create_charge|capture_payment)\Z|"
    r"(^|\.)(mailer|mail|session|http)\.(send|post)\Z",
    re.IGNORECASE,
)
LARGE = frozenset({"read", "getvalue", "tobytes", "read_bytes", "b64encode", "read_text", "getbuffer"})
MISSING = re.compile(r"NoResultFound|DoesNotExist|NotFound|ObjectDeleted|LookupError")
WAITING = frozenset({"get", "join", "wait", "join_native", "collect"})
KEPT_ID = re.compile(r"(task|job|celery|result)_?(id|uuid)\Z")
VARIABLE = re.compile(r"CELERY_(LOADER|BROKER_URL|RESULT_BACKEND)")
SOON = 15.0
"""Seconds of a countdown that gives a transaction the time to commit."""


def findings(source: PythonSource) -> Iterator[Finding]:
    for task in source.tasks:
        yield from _effects(source, task)
        yield from _missing_rows(source, task)
        yield from _waits(source, task, "PTC806")
    if not is_test(source.file.path):
        for function in source.nodes(cst.FunctionDef):
            if not source.task_of(function) and source.around(function, cst.FunctionDef) is None:
                yield from _waits(source, function, "PTC809")
    for call in source.nodes(cst.Call):
        if _sends(call):
            yield from _sending(source, call)
    yield from _kept_ids(source)
    yield from _commands(source)
    yield from _program_names(source)
    for text in source.nodes(cst.SimpleString):
        if VARIABLE.fullmatch(text_of(text) or ""):
            yield source.finding("PTC606", text, text_of(text) or "")
    if PurePath(source.file.path).name == "setup.py":
        for text in source.nodes(cst.SimpleString):
            start, end = source.span(text)
            yield from setup_requirement(source.file, start + 1, end - 1)


def _effects(source: PythonSource, task: cst.FunctionDef) -> Iterator[Finding]:
    decorators = [each.decorator for each in task.decorators if isinstance(each.decorator, cst.Call)]
    if any(keyword(each, "acks_late") is not None for each in decorators):
        return
    for call in source.within(task, cst.Call):
        name = source.called(call)
        if OUTSIDE.search(name) and name.rpartition(".")[2] not in SENDERS:
            yield source.finding("PTC801", call, f"{dotted(call.func)}() in {task.name.value}")
            return


def _missing_rows(source: PythonSource, task: cst.FunctionDef) -> Iterator[Finding]:
    for call in source.within(task, cst.Call):
        if not dotted(call.func).endswith(".retry"):
            continue
        handler, condition = source.around(call, cst.ExceptHandler), source.around(call, cst.If)
        caught = source.code(handler.type) if handler is not None and handler.type is not None else ""
        tested = source.code(condition.test) if condition is not None else ""
        if MISSING.search(caught) or re.search(r"(^not \w+\Z)|\bis None\Z", tested):
            yield source.finding("PTC803", call, f"retry in {task.name.value} after {caught or tested}")


def _sends(call: cst.Call) -> bool:
    """Tell whether a call sends a task. `apply_async` of a pool of processes does not."""
    return (
        isinstance(call.func, cst.Attribute)
        and call.func.attr.value in SENDERS
        and not re.search(r"pool|executor", dotted(call.func.value), re.IGNORECASE)
    )


def _waits(source: PythonSource, function: cst.FunctionDef, code: str) -> Iterator[Finding]:
    """Findings about code that waits for a task which the same function calls."""
    results = {
        dotted(each.targets[0].target)
        for each in source.within(function, cst.Assign)
        if isinstance(each.value, cst.Call) and _gives_a_result(source, each.value)
    }
    for call in source.within(function, cst.Call):
        if not isinstance(call.func, cst.Attribute) or call.func.attr.value not in WAITING:
            continue
        of = call.func.value
        if (isinstance(of, cst.Call) and _gives_a_result(source, of)) or (
            isinstance(of, cst.Name) and of.value in results
        ):
            yield source.finding(code, call, f"{source.code(call).splitlines()[0][:80]} in {function.name.value}")


def _gives_a_result(source: PythonSource, call: cst.Call) -> bool:
    if _sends(call) or (isinstance(call.func, cst.Attribute) and call.func.attr.value == "AsyncResult"):
        return True
    # group(…)() and chord(…)(…)
    return isinstance(call.func, cst.Call) and source.called(call.func).rpartition(".")[2] in (
        "group",
        "chord",
        "chain",
    )


def _sending(source: PythonSource, call: cst.Call) -> Iterator[Finding]:
    for inner in source.within(call, cst.Call):
        if inner is not call and isinstance(inner.func, cst.Attribute) and inner.func.attr.value in LARGE:
            yield source.finding("PTC802", inner, source.code(inner).splitlines()[0])
            break
    chosen = keyword(call, "task_id")
    if chosen is not None and not re.search(r"uuid|unique_id", source.code(chosen)):
        yield source.finding("PTC805", call, f"task_id={source.code(chosen)}")
    wait = keyword(call, "countdown")
    if isinstance(wait, (cst.Integer, cst.Float)) and 0 < wait.evaluated_value <= SOON and not source.task_of(call):
        yield source.finding("PTC803", call, f"countdown={source.code(wait)}")


def _kept_ids(source: PythonSource) -> Iterator[Finding]:
    for call in source.nodes(cst.Call):
        reads = dotted(call.func).rpartition(".")[2] in ("AsyncResult", "GroupResult") and call.args
        if reads and not isinstance(call.args[0].value, cst.SimpleString):
            yield source.finding("PTC804", call, source.code(call).splitlines()[0][:80])
    for assign in source.nodes(cst.Assign):
        target = assign.targets[0].target
        if not isinstance(target, cst.Attribute) or not isinstance(assign.value, cst.Attribute):
            continue
        if KEPT_ID.search(target.attr.value) and assign.value.attr.value in ("id", "task_id"):
            yield source.finding("PTC804", assign, source.code(assign))


def _commands(source: PythonSource) -> Iterator[Finding]:
    """Command lines that a program starts, such as `[sys.executable, "-m", "celery", "worker"]`."""
    for node in source.nodes(cst.List):
        words = [text_of(each.value) or "" for each in node.elements]
        if any(word.rpartition("/")[2] == "celery" for word in words[:3]):
            for command, code in (("worker", "PTC601"), ("beat", "PTC602")):
                if command in words:
                    yield source.finding(code, node, " ".join(word or "…" for word in words))


def _program_names(source: PythonSource) -> Iterator[Finding]:
    """Tests by which a program finds out that it is a Celery worker, such as `"celery" in sys.argv[0]`."""
    tests: list[cst.Comparison | cst.Call] = [*source.nodes(cst.Comparison)]
    tests += [
        each for each in source.nodes(cst.Call) if dotted(each.func).rpartition(".")[2] in ("endswith", "startswith")
    ]
    for test in tests:
        code = source.code(test)
        if "sys.argv" in code and any(text_of(each) == "celery" for each in source.within(test, cst.SimpleString)):
            yield source.finding("PTC607", test, code.splitlines()[0][:80])
