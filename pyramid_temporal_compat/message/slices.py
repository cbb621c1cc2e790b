"""The wire format of a slice: one activity that runs several members of a canvas or bundle, one after the other.

`Slice` is what the workflow asks for: the members, as messages with their payloads. Its head travels in the header, as
the envelope of a single message does, and the payloads of all members are the activity's Input.

A member may be the next step of a chain. It follows the member before it in the slice, and takes its result.

In a `SliceReport`, the worker tells the outcomes of the members that ran, and the ids of the members that it gives
back. A report is the activity's result. If a member runs long, or has a large result, a report goes to
the workflow earlier, as a signal. From then on the activity belongs to one member alone, the *rest*: it ends as this
member ends. Before a step begins that follows another, a heartbeat of the slice has told the server all ends so far.

Reports are JSON that people can read in the web UI.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from temporalio.exceptions import ApplicationError

from .. import states
from ..exceptions import InvalidTaskError
from ..payload import Payload
from ..payload.bounds import read_json, read_together
from . import wire_names as wire
from .message import Message, NewerMessage, is_name

VERSION = 1
SMALL = 16 * 1024
"""Bytes up to which a member can be in a slice, and up to which a report holds its outcome."""
MOST_NAMED = 10
"""Members that the summary names: it has room for few."""
MOST_MEMBERS = 1000
"""Members that a slice may have for its readers. The plan of slices stays far below."""


@dataclass(frozen=True)
class AttemptRecord:
    """How an attempt ended without a result: the error that the activity of a single task would raise."""

    text: str
    type: str
    details: tuple[Any, ...] = ()
    final: bool = True
    """Whether the server would make no other attempt."""
    delay: float | None = None
    """Seconds until the next attempt, if the worker asked for a delay."""
    counts: Mapping[str, Any] | None = None
    """The last heartbeat of an attempt that ended in order."""

    def error(self) -> ApplicationError:
        """Return the error that the attempt raised."""
        error = ApplicationError(self.text, *self.details, type=self.type, non_retryable=self.final)
        # It is the cause of an `ActivityError`, and is raised again while that is handled: a circle, if it were kept.
        error.__suppress_context__ = True
        return error

    def written(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> AttemptRecord:
        """Read a record. Raise `ValueError` or another error of reading if it is none: anyone may have written it."""
        delay, counts = written.get("delay"), written.get("counts")
        if not isinstance(delay, (int, float, type(None))) or not isinstance(counts, (Mapping, type(None))):
            raise ValueError(f"the end of an attempt is {written!r:.80}")
        text, kind, details = str(written["text"]), str(written["type"]), tuple(written.get("details") or ())
        return cls(text, kind, details, bool(written["final"]), delay, counts)


@dataclass(frozen=True)
class MemberOutcome:
    """How the attempt of one member ended: with a result, or as its record says."""

    id: str
    task: str
    seconds: float
    """How long the attempt took."""
    result: Payload | None = None
    record: AttemptRecord | None = None

    @property
    def goes_on(self) -> bool:
        """Whether another attempt follows, which is not made in the slice."""
        return self.record is not None and not self.record.final

    @property
    def for_next(self) -> Payload | None:
        """The result that the next step of a chain takes; None if the next step does not begin."""
        return None if self.result is None or wire.ENDED_AS in self.result.metadata else self.result

    def written(self) -> dict[str, Any]:
        head = {"id": self.id, "task": self.task, "state": self._state, "seconds": round(self.seconds, 6)}
        if self.record is not None:
            return {**head, "ended": self.record.written()}
        assert self.result is not None
        return {**head, "result": write_shown(self.result)}

    @property
    def _state(self) -> str:
        """The member's state after the attempt, for people."""
        if self.record is not None:
            return states.REVOKED if self.record.type == wire.REVOKED else self._state_after(self.record)
        assert self.result is not None
        return self.result.metadata.get(wire.ENDED_AS, states.SUCCESS.encode()).decode(errors="replace")

    @staticmethod
    def _state_after(record: AttemptRecord) -> str:
        return states.FAILURE if record.final and record.type not in wire.CONTINUES else record.type

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> MemberOutcome:
        result = read_shown(written["result"]) if "result" in written else None
        record = AttemptRecord.read(written["ended"]) if result is None else None
        return cls(_name(written["id"]), _name(written["task"]), float(written["seconds"]), result, record)


@dataclass(frozen=True)
class SliceReport:
    """A worker's report on the members of a slice."""

    outcomes: tuple[MemberOutcome, ...] = ()
    given_back: tuple[str, ...] = ()
    """The ids of the members that the worker has not begun, and does not begin any more."""
    rest: tuple[str, str] | None = None
    """The id and the task of the member to which the activity belongs from now on."""
    slice_id: str = ""
    """The id of the slice's activity, in a signal."""

    def encode(self) -> Payload:
        return Payload({"encoding": b"json/plain", wire.SLICE: b"1"}, _as_json(self.written()))

    def written(self) -> dict[str, Any]:
        """Return the report as plain JSON."""
        written: dict[str, Any] = {"members": [outcome.written() for outcome in self.outcomes]}
        if self.given_back:
            written["given_back"] = self.given_back
        if self.rest:
            written["rest"] = self.rest
        if self.slice_id:
            written["slice"] = self.slice_id
        return written

    @classmethod
    def decode(cls, payload: Payload) -> SliceReport:
        """Read a report that `encode` wrote. Raise `InvalidTaskError` if it is none: anyone may have written it."""
        try:
            written = read_json(payload.data)
        except (ValueError, RecursionError):
            raise InvalidTaskError(f"not the report of a slice: {payload.data[:200]!r}") from None
        return cls.read(written)

    @classmethod
    def read(cls, written: Any) -> SliceReport:
        """Read a report from plain JSON. Raise `InvalidTaskError` if it is none: anyone may have written it."""
        try:
            outcomes = tuple(MemberOutcome.read(each) for each in written["members"])
            given_back = tuple(map(_name, written.get("given_back", ())))
            rest = written.get("rest")
            found = None if rest is None else (_name(rest[0]), _name(rest[1]))
            return cls(outcomes, given_back, found, str(written.get("slice", "")))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise InvalidTaskError(f"not the report of a slice: {written!r:.200}") from None


@dataclass(frozen=True)
class SliceMember:
    """One member of a slice."""

    message: Message
    payloads: tuple[Payload, ...] = ()
    """The payloads that follow the message's body."""
    follows: bool = False
    """Whether it begins only if the member before it has ended with a result."""
    takes: bool = False
    """Whether that result is put in front of its arguments."""

    @property
    def call(self) -> tuple[Message, tuple[Payload, ...]]:
        """The message, and the payloads that follow its body."""
        return self.message, self.payloads

    def after(self, result: Payload) -> SliceMember:
        """Return the member as it is once the member that it follows has ended."""
        if not self.takes:
            return replace(self, follows=False)
        linked = None if self.message.linked is None else self.message.linked + 1
        return SliceMember(self.message.copy(joins=0, linked=linked), (result, *self.payloads))


@dataclass(frozen=True)
class Slice:
    """Several members of one workflow, for one activity."""

    seconds: float
    """How long the members should take together."""
    members: tuple[SliceMember, ...] = field(default=())

    @property
    def summary(self) -> str:
        """The slice in one line, for people."""
        named = ", ".join(member.message.summary for member in self.members[:MOST_NAMED])
        return f"slice of {len(self.members)}: {named}"

    def encode(self) -> list[Payload]:
        heads: list[Any] = []
        payloads: list[Payload] = []
        for member in self.members:
            message, before = member.message, member.payloads
            envelope = message.envelope()
            if before:
                envelope["more"] = len(before)
            heads.append([envelope, len(message.body) + len(before), *([member.takes] if member.follows else [])])
            payloads += [*message.body, *before]
        head = {wire.SLICE: VERSION, "seconds": self.seconds, "members": heads}
        return [Payload({"encoding": b"json/plain"}, _as_json(head)), *payloads]

    @classmethod
    def decode(cls, head: bytes, payloads: Sequence[Payload]) -> Slice:
        """Read a slice. Raise `InvalidTaskError` if it is none: anyone may have written it."""
        try:
            with read_together():
                found = read_json(head)
            if int(found[wire.SLICE]) > VERSION:
                raise NewerMessage(f"a slice has version {found[wire.SLICE]}, this release reads up to {VERSION}")
            counts = [count for _, count, *_ in found["members"]]
            if len(counts) > MOST_MEMBERS or not all(type(count) is int and count >= 0 for count in counts):
                raise ValueError("a slice has too many members, or a count that is none")
            if sum(counts) != len(payloads):
                raise ValueError(f"the members of a slice have {sum(counts)} payloads, and {len(payloads)} came")
            members: list[SliceMember] = []
            place = 0
            for envelope, count, *takes in found["members"]:
                message, before = Message.read(envelope, payloads[place : place + count]).apart()
                follows = bool(takes and members)
                members.append(SliceMember(message, before, follows, follows and bool(takes[0])))
                place += count
            return cls(float(found["seconds"]), tuple(members))
        except InvalidTaskError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise InvalidTaskError(f"not a slice: {head[:200]!r}") from None


def recorded_ends(heartbeat: Sequence[Any]) -> SliceReport | None:
    """Return the ends that a slice's last heartbeat has told the server; None if it has told none.

    :param heartbeat: the details of the heartbeat, as the server has them.
    """
    details = heartbeat[0] if heartbeat else None
    if not isinstance(details, Mapping) or wire.ENDS not in details:
        return None
    try:
        return SliceReport.read(details[wire.ENDS])
    except InvalidTaskError:
        return None


def write_shown(payload: Payload) -> dict[str, Any]:
    """Return a payload as plain JSON in which people can read a text."""
    metadata = {key: value.decode("latin-1") for key, value in payload.metadata.items()}
    kind = {} if metadata == {"encoding": "json/plain"} else {"metadata": metadata}
    try:
        return {**kind, "text": payload.data.decode()}
    except UnicodeDecodeError:
        return {**kind, "base64": base64.b64encode(payload.data).decode()}


def read_shown(written: Mapping[str, Any]) -> Payload:
    """Return the payload that `write_shown` was given."""
    metadata = written.get("metadata", {"encoding": "json/plain"})
    data = written["text"].encode() if "text" in written else base64.b64decode(written["base64"])
    return Payload({key: value.encode("latin-1") for key, value in metadata.items()}, data)


def _as_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), default=dict).encode()


def _name(value: Any) -> str:
    if not is_name(value):
        raise ValueError(f"{value!r:.80} is no id or name")
    return str(value)
