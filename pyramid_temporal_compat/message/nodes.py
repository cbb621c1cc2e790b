"""The nodes of a canvas: a task, a chain, a group or a chord, each with its parts. Frozen values, as the message is.

The methods answer questions that several modules ask of a canvas: its single tasks, its results as Celery writes
them, and how many of its tasks can run at a time. A walk over all nodes uses `parts()`, so it needs no switch over the
four kinds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from .message import Message

CALLBACKS = ("links", "errbacks")
"""The parts that run because of how a node ended. They are no part of its result."""


class _WithParts:
    ROLES: ClassVar[tuple[str, ...]]
    """The fields that hold other nodes."""

    def parts(self) -> Iterator[tuple[str, Node]]:
        """Yield each node directly in this one, with the name of the field that holds it, such as `links`."""
        for role in self.ROLES:
            held = getattr(self, role)
            if isinstance(held, tuple):
                for part in held:
                    yield role, part
            else:
                yield role, held

    def with_parts(self: _N, change: Callable[[Node], Node]) -> _N:
        """Return this node with each part replaced by what `change` makes of it."""
        changed: dict[str, Any] = {}
        for role in self.ROLES:
            held = getattr(self, role)
            changed[role] = tuple(map(change, held)) if isinstance(held, tuple) else change(held)
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]  # each of the four is a dataclass

    def leaves(self) -> Iterator[TaskNode]:
        """Yield the single tasks, in the order in which they were written, without the callbacks."""
        for role, part in self.parts():
            if role not in CALLBACKS:
                yield from part.leaves()

    def all_messages(self) -> Iterator[Message]:
        """Yield the messages of all tasks, callbacks included."""
        for _, part in self.parts():
            yield from part.all_messages()


_N = TypeVar("_N", bound=_WithParts)


@dataclass(frozen=True)
class TaskNode(_WithParts):
    """A single task."""

    ROLES = CALLBACKS

    message: Message
    takes: bool = True
    """Whether the result of the previous node is put in front of the task's arguments."""
    links: tuple[Node, ...] = ()
    errbacks: tuple[Node, ...] = ()

    @property
    def id(self) -> str:
        return self.message.id

    @property
    def kind(self) -> str:
        """The type of the workflow that runs this node."""
        return self.message.task

    @property
    def width(self) -> int:
        """How many of its tasks can run at a time."""
        return 1

    @property
    def ready(self) -> int:
        """How many of its tasks can run as soon as it begins."""
        return 1

    @property
    def result_message(self) -> Message:
        """The message of the task whose result is this node's result."""
        return self.message

    def leaves(self) -> Iterator[TaskNode]:
        yield self

    def all_messages(self) -> Iterator[Message]:
        yield self.message
        yield from super().all_messages()

    def result(self, parent: Any = None) -> Any:
        """Return the node's result as `AsyncResult.as_tuple` writes it. `parent` is the result before it."""
        return (self.message.id, parent), None

    def first_result(self) -> Any:
        """Return the result that the previous task lists among its children: of the part that runs first."""
        return self.result()


@dataclass(frozen=True)
class ChainNode(_WithParts):
    """Steps that run one after the other. It has the id of the last step's result."""

    kind: ClassVar[str] = "chain"
    ROLES = ("steps",)

    id: str
    steps: tuple[Node, ...]

    @property
    def takes(self) -> bool:
        return self.steps[0].takes

    @property
    def width(self) -> int:
        return max((step.width for step in self.steps), default=0)

    @property
    def ready(self) -> int:
        return self.steps[0].ready if self.steps else 0

    @property
    def result_message(self) -> Message:
        return self.steps[-1].result_message

    def result(self, parent: Any = None) -> Any:
        for step in self.steps:
            parent = step.result(parent)
        return parent

    def first_result(self) -> Any:
        return self.steps[0].first_result()


@dataclass(frozen=True)
class GroupNode(_WithParts):
    """Members that run side by side."""

    kind: ClassVar[str] = "group"
    ROLES = ("members", *CALLBACKS)

    id: str
    members: tuple[Node, ...]
    links: tuple[Node, ...] = ()
    errbacks: tuple[Node, ...] = ()
    of_links: bool = False
    """Whether the members were linked to a task one by one, and form a group only because they run side by side."""

    @property
    def takes(self) -> bool:
        return any(member.takes for member in self.members)

    @property
    def width(self) -> int:
        return sum(member.width for member in self.members)

    @property
    def ready(self) -> int:
        return sum(member.ready for member in self.members)

    @property
    def result_message(self) -> Message:
        """The message of the first task. An empty group gets a message that only names it."""
        first = next(self.leaves(), None)
        return Message("celery.group", self.id, (), "") if first is None else first.message

    def result(self, parent: Any = None) -> Any:
        return (self.id, parent), [member.result() for member in self.members]

    def first_result(self) -> Any:
        return self.result()


@dataclass(frozen=True)
class ChordNode(_WithParts):
    """A group, the header, and the body that gets its results. It has the id of the body's result."""

    kind: ClassVar[str] = "chord"
    ROLES = ("header", "body", "errbacks")

    id: str
    group_id: str
    header: tuple[Node, ...]
    body: Node
    errbacks: tuple[Node, ...] = ()
    """They run when the header fails, and get the body's id."""
    errback_subjects: tuple[str, ...] = ()
    """If the body is a group: for each error callback the id of the body's member that it gets instead."""

    @property
    def takes(self) -> bool:
        return any(member.takes for member in self.header)

    @property
    def width(self) -> int:
        return max(sum(member.width for member in self.header), self.body.width)

    @property
    def ready(self) -> int:
        return sum(member.ready for member in self.header)

    @property
    def result_message(self) -> Message:
        return self.body.result_message

    def result(self, parent: Any = None) -> Any:
        return self.body.result(self.header_result(parent))

    def first_result(self) -> Any:
        return self.header_result()

    def header_result(self, parent: Any = None) -> Any:
        """Return the header's group of results as `GroupResult.as_tuple` writes it."""
        return (self.group_id, parent), [member.result() for member in self.header]


Node = TaskNode | ChainNode | GroupNode | ChordNode
