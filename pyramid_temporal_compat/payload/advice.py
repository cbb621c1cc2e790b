"""Advice on what to send instead of a value that can't travel."""

from __future__ import annotations

import inspect
import io
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

ANYTHING = (
    "pass plain values (numbers, strings, lists, dicts, dates, ...) or an identifier, "
    "give its class a __json__ method, or call register_type() for it"
)


def advice(value: Any) -> str:
    """Return the advice for a caller who passed `value`."""
    for says in _ADVISERS:
        sentence = says(value)
        if sentence:
            return sentence
    return ANYTHING


def _mapped(value: Any) -> str | None:
    sqlalchemy = sys.modules.get("sqlalchemy")
    if sqlalchemy is None:
        return None
    mapper = sqlalchemy.inspect(type(value), raiseerr=False)
    if not hasattr(mapper, "primary_key"):
        return None
    name = type(value).__name__.lower()
    keys = [f"{name}.{mapper.get_property_by_column(column).key}" for column in mapper.primary_key]
    return f"pass its primary key: {', '.join(keys)}, and load it in the task, which has a session of its own"


def _database(value: Any) -> str | None:
    if not type(value).__module__.startswith("sqlalchemy."):
        return None
    if type(value).__name__ == "Row":
        return "pass row._asdict() or the columns that the task needs"
    return "what belongs to a database connection stays in its process; a task has its own request.dbsession"


def _request(value: Any) -> str | None:
    names = {cls.__module__.partition(".")[0] + "." + cls.__name__ for cls in type(value).__mro__}
    if names & {"webob.BaseRequest", "webob.Request", "pyramid.Request", "pyramid.DummyRequest"}:
        return "pass what the task needs of it; the task has a request of its own, self.pyramid_request"
    return None


def _multidict(value: Any) -> str | None:
    if type(value).__module__.startswith("webob.") and hasattr(value, "mixed"):
        return "pass its mixed(), which is a dict"
    return None


def _upload(value: Any) -> str | None:
    if hasattr(value, "filename") and hasattr(value, "file"):
        return "pass its content (upload.file.read()), or store it and pass where"
    return None


def _task(value: Any) -> str | None:
    if callable(getattr(value, "apply_async", None)):
        return "pass a signature, task.s(...), or the task's name"
    return None


def _number(value: Any) -> str | None:
    if type(value).__module__.partition(".")[0] != "numpy":
        return None
    return "pass array.tolist()" if type(value).__name__ == "ndarray" else "pass its item()"


def _kinds(value: Any) -> str | None:
    for kinds, sentence in _BY_KIND:
        if isinstance(value, kinds):
            return sentence
    return None


_BY_KIND: list[tuple[type[Any] | tuple[type[Any], ...], str]] = [
    ((types.CoroutineType, types.AsyncGeneratorType), "await it first, and pass what it gives"),
    (types.GeneratorType, "a generator can be read once, here; pass list(it)"),
    (type, "pass the class's dotted name"),
    (types.ModuleType, "pass the module's name"),
    (
        (types.FunctionType, types.BuiltinFunctionType, types.MethodType),
        "code does not travel; make it a task, and pass its signature or its name",
    ),
    (io.IOBase, "an open file stays in its process; pass its path, or what it contains"),
    (PurePath, "pass str(path)"),
    (BaseException, "pass str(error), or what the task needs of it"),
    (complex, "pass its real and imag parts"),
    (Mapping, "pass dict(it)"),
    (Iterator, "an iterator can be read once, here; pass list(it)"),
    (Iterable, "pass list(it), or give its class a __json__ method"),
]


def _local(value: Any) -> str | None:
    if "<locals>" in type(value).__qualname__ and not inspect.isroutine(value):
        return f"its class is local to a function, so no other process could rebuild it; {ANYTHING}"
    return None


_ADVISERS: list[Callable[[Any], str | None]] = [
    _mapped,
    _database,
    _request,
    _multidict,
    _upload,
    _number,
    _kinds,
    _task,
    _local,
]
