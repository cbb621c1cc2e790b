"""The tree: a whole canvas with its nodes, as it travels to the workflow that runs it. A frozen value.

On the wire its first payload is a mark, which travels in a Temporal header, as a message's envelope does. The others
are the workflow's Input, which people can read in the web UI: the *plan*, which is the canvas as JSON, and then the
arguments of its tasks, in the order in which the plan names the tasks. The plan says how many payloads each task has.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidTaskError, PayloadTooLarge
from ..log_lines.text_safety import one_line
from ..payload import Payload
from ..payload.bounds import OutOfBounds, check_json, read_json, read_together
from .message import LONGEST, Message, NewerMessage, is_name, readable, total_size
from .nodes import ChainNode, ChordNode, GroupNode, Node, TaskNode
from .payload_archive import MOST_PAYLOADS, VALUES_EACH, packed, unpacked

if TYPE_CHECKING:
    from ..payload.codecs import Codec

MARK = "ptemporal-tree"
VERSION = 1
MOST_AT_ONCE = 2000
"""The server's limit on the pending activities of one workflow."""
BUNDLE = "bundle"
TREE_TYPES = (BUNDLE, ChainNode.kind, GroupNode.kind, ChordNode.kind)
"""The types of the workflows of canvases and bundles. A task with links has its own type."""
PACKED = "packed"
"""A key of the mark. It says that the next payload holds all the payloads of the tree, compressed."""
SMALL = 32 * 1024
"""Bytes up to which a tree is sent uncompressed, so that people can read it in the web UI."""
MOST = 50_000
"""The limit on the tasks of a canvas. A worker reads them all at once, and Temporal gives it two seconds for that."""
MOST_VALUES = 5_000_000
"""Values in the plan of a canvas: 100 for each of 50,000 tasks, which have some 40 to 65 each."""
LIMIT = 2 * 1024 * 1024 - 4096
"""Bytes that the input of a workflow or an activity may have: the default of `ptemporal.payload_limit`."""


def is_tree(data: bytes) -> bool:
    """Return whether this is the mark of a tree."""
    return data.startswith(b'{"' + MARK.encode())


@dataclass(frozen=True)
class FromParent:
    """What a child workflow, which runs a part of a canvas, learns from its parent workflow."""

    follows: tuple[Any, ...] = ()
    """The tasks that the parent runs with the child's result, each as `first_result` writes it."""
    later: bool = False
    """Whether a task of the canvas has run before this part."""
    revoked: tuple[str, ...] = ()
    """The ids of the members that must not start, because they were revoked."""
    first: int = 0
    of: int = 0
    """For people: the number of the part's first member, and of how many members. `of` 0: the part counts its own."""
    room: int | None = None
    """Bytes of results that the parent can use. If the results are larger, the child returns their size only."""

    def written(self) -> dict[str, Any]:
        return {
            name: value for name, value in vars(self).items() if value not in (None, False, 0, ()) or name == "room"
        }

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> FromParent:
        found: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in written.items()}
        made = cls(**found)
        numbers = (made.first, made.of, made.room or 0)
        if (
            not isinstance(made.follows, tuple)
            or not all(map(is_name, made.revoked))
            or not all(type(number) is int for number in numbers)
        ):
            raise ValueError(f"the parent workflow's part is {written!r:.80}")
        return made


NO_PARENT = FromParent()


@dataclass(frozen=True)
class Tree:
    """A canvas as it is sent. For senders and logs it has the properties that a message has."""

    root: Node
    at_once: int = 500
    """How many tasks may run at a time."""
    before: Any = None
    """The results that come before the root, as `Message.joins` writes them. Their payloads follow the tree's own."""
    payloads: tuple[Payload, ...] = ()
    keeps: bool = False
    """Whether the workflow of a group returns the list of results, because its parent workflow needs them."""
    bundle: bool = False
    """Whether the members are unrelated tasks that are only sent together, as one workflow."""
    from_parent: FromParent = NO_PARENT
    limit: int = LIMIT
    """Bytes that the arguments of one task may have, including the previous results."""
    slice_seconds: float = 0.0
    """How long the members of one slice should take together. 0: each member has an activity of its own."""

    @property
    def id(self) -> str:
        return self.root.id

    @property
    def task(self) -> str:
        """The workflow's type."""
        if self.bundle:
            return BUNDLE
        return self.root.kind

    @property
    def first(self) -> Message | None:
        return next((leaf.message for leaf in self.root.leaves()), None)

    @property
    def queue(self) -> str:
        return self.first.queue if self.first else ""

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.first.headers if self.first else {}

    @property
    def eta(self) -> datetime.datetime | None:
        return self._single.eta if self._single else None

    @property
    def summary(self) -> str:
        if isinstance(self.root, TaskNode):
            return self.root.message.summary
        found = self.messages
        return f"{self.task} of {len(found)}: {', '.join(message.summary for message in found[:3])}"

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of the single tasks, without the callbacks."""
        return tuple(leaf.message for leaf in self.root.leaves())

    @property
    def expires(self) -> datetime.datetime | None:
        return self._single.expires if self._single else None

    @property
    def priority(self) -> int | None:
        return self.first.priority if self.first else None

    @property
    def publish_retry(self) -> Any:
        """How often the start is tried again while the server is away."""
        return self.first.publish_retry if self.first else None

    @property
    def fairness_key(self) -> str | None:
        return self.first.fairness_key if self.first else None

    @property
    def fairness_weight(self) -> float | None:
        return self.first.fairness_weight if self.first else None

    @property
    def _single(self) -> Message | None:
        return self.root.message if isinstance(self.root, TaskNode) else None

    def leaving(self, now: datetime.datetime) -> Tree:
        """Return the tree as it is at the moment in which it is sent."""
        if all(message.expires is None for message in self.root.all_messages()):
            return self  # with its bytes, if they have been made already
        return replace(self, root=_leaving(self.root, now))

    @property
    def size(self) -> int:
        """Size of the start request in bytes.

        Small trees report their uncompressed size, because encoding them just to measure is slow.
        """
        return self.inflated if self.inflated < self.limit else total_size(self.encode())

    @functools.cached_property
    def inflated(self) -> int:
        """Size in bytes before compression: an estimate that is never too small."""
        return sum(message.rough_size for message in self.root.all_messages())

    def encode(self) -> list[Payload]:
        return list(self._encoded)

    @functools.cached_property
    def _encoded(self) -> Sequence[Payload]:
        payloads = self._payloads()
        if total_size(payloads) <= SMALL:
            return [_as_json({MARK: VERSION}), *payloads]
        return [_as_json({MARK: VERSION, PACKED: "zlib"}), Payload({"encoding": b"binary/plain"}, packed(payloads))]

    def _payloads(self) -> list[Payload]:
        bodies: list[Payload] = []
        plan = {"root": _written(self.root, bodies), "at_once": self.at_once}
        if self.keeps:
            plan["keeps"] = True
        if self.bundle:
            plan["bundle"] = True
        if self.limit != LIMIT:
            plan["limit"] = self.limit
        if self.slice_seconds:
            plan["slice"] = self.slice_seconds
        if self.from_parent != NO_PARENT:
            plan["above"] = self.from_parent.written()
        if self.before is not None:
            plan["before"] = self.before
        written = [_as_json(plan), *bodies, *self.payloads]
        try:
            with read_together(values=MOST_VALUES):
                check_json(written[0].data)
            if len(written) > MOST_PAYLOADS:
                raise OutOfBounds
        except OutOfBounds:
            raise PayloadTooLarge(
                f"the canvas {self.id} holds more than {MOST_VALUES:,} values or {MOST_PAYLOADS:,} arguments, so no "
                "worker would read it: make several canvases of it, or move what its tasks' headers and arguments hold "
                "into a database"
            ) from None
        return written

    @classmethod
    def decode(cls, payloads: Sequence[Payload]) -> Tree:
        """Read a tree that this release or an older one wrote.

        Anyone may have written it. So each payload is used at most once, and each id is checked.
        """
        try:
            with read_together(values=MOST_VALUES + VALUES_EACH * MOST_PAYLOADS):
                return cls._decode(payloads)
        except InvalidTaskError:
            raise
        except RecursionError:
            raise InvalidTaskError("not a canvas that can be run: it is nested too deeply") from None
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            raise InvalidTaskError(
                f"not a canvas: {type(error).__name__}: {one_line(error):.80}: {payloads[0].data[:200]!r}"
            ) from None

    @classmethod
    def _decode(cls, payloads: Sequence[Payload]) -> Tree:
        mark, *others = payloads
        is_packed = PACKED in _checked_mark(mark.data)
        written = iter(unpacked(others[0].data) if is_packed else others)
        plan = read_json(next(written, NO_PLAN).data)
        root = _read(plan["root"], written)
        before = plan.get("before")
        more: tuple[Payload, ...] = ()
        if before is not None:
            more = tuple(written)
            check_places(before, len(more))
        keeps, bundle = bool(plan.get("keeps", False)), bool(plan.get("bundle", False))
        at_once = min(_count(plan["at_once"]), MOST_AT_ONCE)
        from_parent, limit = FromParent.read(plan.get("above", {})), _count(plan.get("limit", LIMIT))
        return cls(root, at_once, before, more, keeps, bundle, from_parent, limit, _seconds(plan.get("slice", 0)))

    def for_log(self, codec: Codec | None = None) -> str:
        plan, *bodies = self._payloads()
        return json.dumps({"plan": readable(plan, codec), "bodies": [readable(body, codec) for body in bodies]})


def tree_options(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a tree that the settings give."""
    return {
        "at_once": conf["ptemporal.canvas_at_once"],
        "limit": conf["ptemporal.payload_limit"],
        "slice_seconds": conf["ptemporal.slice"],
    }


NO_PLAN = Payload({}, b"")


def _as_json(value: Any) -> Payload:
    return Payload({"encoding": b"json/plain"}, json.dumps(value, separators=(",", ":"), default=dict).encode())


def _checked_mark(data: bytes) -> dict[str, Any]:
    mark: dict[str, Any] = read_json(data)
    if int(mark[MARK]) > VERSION:
        raise NewerMessage(
            f"a canvas has version {mark[MARK]}, this release reads up to {VERSION}: "
            "upgrade the workers before the processes that send"
        )
    return mark


def _leaving(node: Node, now: datetime.datetime) -> Node:
    changed = node.with_parts(lambda part: _leaving(part, now))
    return replace(changed, message=changed.message.leaving(now)) if isinstance(changed, TaskNode) else changed


def _written(node: Node, bodies: list[Payload]) -> dict[str, Any]:
    if isinstance(node, TaskNode):
        bodies += node.message.body
        written = {"task": node.message.envelope(), "body": len(node.message.body), "takes": node.takes}
    else:
        written = {node.kind: node.id}
    if isinstance(node, ChordNode):
        written["group_id"] = node.group_id
        if node.errback_subjects:
            written["told"] = node.errback_subjects
    if isinstance(node, GroupNode) and node.of_links:
        written["of_links"] = True
    for role in node.ROLES:
        held = getattr(node, role)
        many = isinstance(held, tuple)
        written[role] = [_written(part, bodies) for part in held] if many else _written(held, bodies)
    return written


def check_places(written: Any, count: int) -> None:
    """Raise if the indexes in `written` are not all below `count`, or if one payload is named twice.

    Without this check an attacker could have the worker read one large payload many times, for two bytes each.
    """
    places: list[int] = []

    def walk(part: Any) -> None:
        if isinstance(part, list):
            for each in part:
                walk(each)
        elif isinstance(part, dict) and "failed" in part:
            places.append(part["failed"])
        elif isinstance(part, dict):
            if not isinstance(part["error"], dict) or not isinstance(part["envelope"], dict):
                raise TypeError("the error of a previous task is not an error")
            walk(part.get("given", []))
        else:
            places.append(part)

    walk(written)
    if not all(type(place) is int and 0 <= place < count for place in places) or len(set(places)) < len(places):
        raise IndexError(f"the previous results are not {count} payloads, each used at most once")


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r:.80} is not a number of tasks or bytes")
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < LONGEST:
        raise ValueError(f"{value!r:.80} is not a number of seconds")
    return float(value)


def _id(value: Any) -> str:
    if not is_name(value):
        raise ValueError(f"an id is {value!r:.80}")
    return str(value)


def _read(found: dict[str, Any], bodies: Iterator[Payload]) -> Node:
    """Read one node.

    :param bodies: the payloads that no task has taken yet, in the order in which this function reads the tasks.
    """

    def several(key: str) -> tuple[Node, ...]:
        return tuple(_read(part, bodies) for part in found[key])

    if "task" in found:
        message = Message.read(found["task"], _taken(bodies, found["body"]))
        return TaskNode(message, bool(found["takes"]), several("links"), several("errbacks"))
    if "chain" in found:
        return ChainNode(_id(found["chain"]), _some(several("steps")))
    if "group" in found:
        of_links = bool(found.get("of_links", False))
        return GroupNode(_id(found["group"]), several("members"), several("links"), several("errbacks"), of_links)
    return ChordNode(
        _id(found["chord"]),
        _id(found["group_id"]),
        several("header"),
        _read(found["body"], bodies),
        several("errbacks"),
        tuple(map(_id, found.get("told", ()))),
    )


def _taken(bodies: Iterator[Payload], count: Any) -> Sequence[Payload]:
    if type(count) is not int or count < 0:
        raise ValueError(f"{count!r:.80} is not a number of arguments")
    taken = list(itertools.islice(bodies, min(count, MOST_PAYLOADS)))
    if len(taken) < count:
        raise ValueError(f"a task has {count} arguments, and {len(taken)} payloads are left")
    return taken


def _some(steps: tuple[Node, ...]) -> tuple[Node, ...]:
    if not steps:
        raise ValueError("a chain has no steps")
    return steps


Unit = Message | Tree
"""A message or the tree of a canvas: the value that is enlisted and started."""


def read_unit(first: Payload, others: Sequence[Payload]) -> Unit:
    """Return the message or tree of these payloads.

    :param first: the payload from the header.
    :param others: the Input.
    """
    return Tree.decode([first, *others]) if is_tree(first.data) else Message.decode(first.data, others)
