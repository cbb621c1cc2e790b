"""One Python file as libcst reads it: its nodes by kind, what their names mean, and where they are in the text."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar, cast

import libcst as cst
from libcst.metadata import (
    ByteSpanPositionProvider,
    MetadataWrapper,
    QualifiedNameSource,
    Scope,
    ScopeProvider,
)

from .findings import Edit, Finding, SourceFile
from .rules import RULES, Fix, Severity

N = TypeVar("N", bound=cst.CSTNode)

OTHERS_TASKS = frozenset(
    {"airflow", "fabric", "invoke", "locust", "luigi", "nox", "prefect", "procrastinate", "pytest"}
)
"""Packages whose decorator `task` is not Celery's."""
OF_CELERY = r"(celery|pyramid_temporal_compat)(\.\w+)*"
"""Pattern of the modules of Celery, and of this package: a rule finds the same before and after a rewrite."""
AN_APP = r"(^|\.)(app|celery|celery_app|current_app)"
"""Pattern of the names that applications give to their Celery app."""
TASK_NAMES = frozenset({"task", "shared_task", "periodic_task"})
RELEVANT = re.compile(
    r"celery|CELERY|\.conf\b|kombu|billiard|shared_task|\.delay\(|apply_async|AfterCommitHook|AsyncResult|\.task\b|redbeat|send_task|"
    r"broker_url|BROKER_URL|result_backend|task_always_eager|task_routes|pyramid_temporal_compat|request\.tm\b|beat_schedule|add_periodic_task|acks_late"
)
"""What a file contains if a rule can find something in it. A file without it is not parsed, which takes most time."""


class PythonSource:
    """A parsed file. Raises `libcst.ParserSyntaxError` if it is no Python that libcst reads."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self._wrapper = MetadataWrapper(cst.parse_module(file.text), unsafe_skip_copy=True)
        self.module = self._wrapper.module
        self._spans: Mapping[cst.CSTNode, Any] = self._wrapper.resolve(ByteSpanPositionProvider)
        self._parents: dict[cst.CSTNode, cst.CSTNode] = {}
        self._bytes = None if file.text.isascii() else file.text.encode()
        self._by_kind: dict[type[cst.CSTNode], list[cst.CSTNode]] = defaultdict(list)
        self._first: dict[cst.CSTNode, int] = {}
        self._last: dict[cst.CSTNode, int] = {}
        self._collect()

    def _collect(self) -> None:
        """Number the nodes in the order of the file, so that what a node holds is a range of numbers."""
        waiting: list[tuple[cst.CSTNode, bool]] = [(self.module, False)]
        number = 0
        while waiting:
            node, is_left = waiting.pop()
            if is_left:
                self._last[node] = number
                continue
            self._first[node] = number
            number += 1
            self._by_kind[type(node)].append(node)
            waiting.append((node, True))
            children = node.children
            self._parents.update(dict.fromkeys(children, node))
            waiting.extend((child, False) for child in reversed(children))

    def nodes(self, kind: type[N]) -> list[N]:
        """Return all nodes of this kind, in the order of the file."""
        return cast("list[N]", self._by_kind[kind])

    # --- where ---

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        found = self._spans[node]
        return self._offset(found.start), self._offset(found.start + found.length)

    def _offset(self, at: int) -> int:
        return at if self._bytes is None else len(self._bytes[:at].decode("utf-8", "ignore"))

    def line(self, node: cst.CSTNode) -> int:
        return self.file.line_at(self.span(node)[0])

    def code(self, node: cst.CSTNode) -> str:
        start, end = self.span(node)
        return self.file.text[start:end]

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        return self._parents.get(node)

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        above = self.parent(node)
        while above is not None:
            yield above
            above = self.parent(above)

    def around(self, node: cst.CSTNode, kind: type[N]) -> N | None:
        """Return the nearest node of this kind that holds `node`."""
        return next((each for each in self.ancestors(node) if isinstance(each, kind)), None)

    def within(self, node: cst.CSTNode, kind: type[N]) -> list[N]:
        """Return the nodes of this kind that `node` holds, and `node` itself if it is one."""
        nodes = self.nodes(kind)
        start = bisect_left(nodes, self._first[node], key=self._first.__getitem__)
        end = bisect_left(nodes, self._last[node], key=self._first.__getitem__)
        return nodes[start:end]

    # --- what ---

    def imported(self, node: cst.CSTNode) -> str | None:
        """Return the dotted name that an imported name stands for; None if the name is not imported."""
        scope = self._scopes.get(node)
        names = scope.get_qualified_names_for(node) if scope is not None else ()
        found = {each.name for each in names if each.source is QualifiedNameSource.IMPORT}
        return min(found) if found else None

    @cached_property
    def _scopes(self) -> Mapping[cst.CSTNode, Scope | None]:
        """The scope of each node. Finding it takes half of the time of reading a file, so it is done when first needed.

        libcst's QualifiedNameProvider would visit all nodes twice more, and the rules ask about few of them.
        """
        return self._wrapper.resolve(ScopeProvider)

    def called(self, call: cst.Call) -> str:
        """Return the dotted name of what is called: the imported one if it is imported, else as it is written."""
        return self.imported(call.func) or dotted(call.func)

    @cached_property
    def tasks(self) -> dict[cst.FunctionDef, str]:
        """The task functions, each with the name of its task, as far as it is written there."""
        found = {}
        for function in self.nodes(cst.FunctionDef):
            for decorator in function.decorators:
                if self.is_task(decorator.decorator):
                    found[function] = self.written_name(function) or function.name.value
        return found

    def written_name(self, function: cst.FunctionDef) -> str | None:
        """Return the name that a decorator gives to a task; None if Celery makes it from module and function."""
        calls = [each.decorator for each in function.decorators if isinstance(each.decorator, cst.Call)]
        return next((name for call in calls if (name := text_of(keyword(call, "name")))), None)

    def is_task(self, decorator: cst.BaseExpression) -> bool:
        """Tell whether a decorator makes a task."""
        named = decorator.func if isinstance(decorator, cst.Call) else decorator
        name = self.imported(named) or dotted(named)
        first, _, _ = name.partition(".")
        return name.rpartition(".")[2] in TASK_NAMES and "." in name and first not in OTHERS_TASKS

    def task_of(self, node: cst.CSTNode) -> str:
        """Return the name of the task whose function holds `node`; the empty text if there is none."""
        if isinstance(node, cst.FunctionDef) and node in self.tasks:
            return self.tasks[node]
        return next(
            (
                self.tasks[each]
                for each in self.ancestors(node)
                if isinstance(each, cst.FunctionDef) and each in self.tasks
            ),
            "",
        )

    def class_of(self, node: cst.CSTNode) -> str:
        """Return the name of the class that holds `node`; the empty text if there is none."""
        found = self.around(node, cst.ClassDef)
        return found.name.value if found is not None else ""

    # --- findings and edits ---

    def finding(
        self,
        code: str,
        node: cst.CSTNode,
        detail: str,
        sentence: str = "",
        fix: Fix = Fix.NONE,
        edits: Sequence[Edit] = (),
        severity: Severity | None = None,
        removes: str = "",
    ) -> Finding:
        return Finding(
            RULES[code],
            self.file.path,
            self.line(node),
            detail,
            sentence,
            fix if edits else Fix.NONE,
            tuple(edits),
            self.task_of(node),
            self.class_of(node),
            removes,
            severity,
        )

    def replacement(self, node: cst.CSTNode, text: str) -> Edit:
        start, end = self.span(node)
        return Edit(start, end, text)

    def statement(self, node: cst.CSTNode) -> cst.CSTNode:
        """Return the whole statement that holds `node`: a line, a function, a class, a block."""
        kinds = (cst.SimpleStatementLine, cst.BaseCompoundStatement)
        if isinstance(node, kinds):
            return node
        return next((each for each in self.ancestors(node) if isinstance(each, kinds)), node)

    def removal(self, statement: cst.CSTNode) -> Edit:
        """Return the edit that removes a statement, with its decorators and the comments that stand right above it.

        A block needs a statement, so the only statement of a block becomes `pass`.
        """
        first = statement
        if isinstance(statement, (cst.FunctionDef, cst.ClassDef)) and statement.decorators:
            first = statement.decorators[0]
        text = self.file.text
        start = text.rfind("\n", 0, self.span(first)[0]) + 1
        end = text.find("\n", max(self.span(statement)[1] - 1, start)) + 1 or len(text)
        block = self.parent(statement)
        if isinstance(block, cst.IndentedBlock) and len(block.body) == 1:
            indent = text[start : self.span(first)[0]]
            return Edit(start, end, f"{indent}pass\n")
        return Edit(self._start_of_comments(start), end, "")

    def _start_of_comments(self, start: int) -> int:
        """Return where the comments right above begin, and the empty lines above them."""
        text = self.file.text
        start_of = start
        comments = True
        while start_of > 0:
            above = text.rfind("\n", 0, start_of - 1) + 1
            line = text[above : start_of - 1].strip()
            if line and not (comments and line.startswith("#")):
                break
            comments = comments and bool(line)
            start_of = above
        return start_of

    def indent(self, node: cst.CSTNode) -> str:
        """Return the white space before the line in which `node` begins."""
        start = self.span(node)[0]
        line = self.file.text[self.file.text.rfind("\n", 0, start) + 1 : start]
        return line[: len(line) - len(line.lstrip())]


def dotted(node: cst.CSTNode) -> str:
    """Return a name as it is written, with dots; a call or an index inside is left out."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        return f"{dotted(node.value)}.{node.attr.value}".lstrip(".")
    if isinstance(node, cst.Call):
        return dotted(node.func)
    return ""


def keyword(call: cst.Call, name: str) -> cst.BaseExpression | None:
    """Return the value of a keyword argument of a call."""
    return next((each.value for each in call.args if each.keyword is not None and each.keyword.value == name), None)


def text_of(node: cst.CSTNode | None) -> str | None:
    """Return the text of a literal; None if the node is none, or has parts that are computed."""
    if isinstance(node, (cst.SimpleString, cst.ConcatenatedString)):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None


def leftmost(node: cst.CSTNode) -> cst.CSTNode:
    """Return the first name of a dotted name."""
    while isinstance(node, cst.Attribute):
        node = node.value
    return node
