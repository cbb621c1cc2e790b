"""The values, errors and failures of a tree's nodes, as they pass between workflows.

Workflow code: it does no I/O, and the same input always gives the same output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from temporalio.exceptions import ApplicationError

from ... import states
from ...exceptions import ChordError, InvalidTaskError
from ...message import wire_names as wire
from ...message.failures import error_of, how_it_failed
from ...message.message import Message, total_size
from ...message.nodes import ChordNode, Node
from ...message.payload_archive import packed, unpacked
from ...message.tree import SMALL, Tree
from ...payload import Payload
from ...payload.bounds import read_json, read_together
from ...payload.errors import from_plain
from .canvas_limits import OmittedResults, measured

Value = Any
"""The value of a node: a `Payload`, or a list of values."""
Call = tuple[str, tuple[bytes, ...]]
"""A task, and its arguments as bytes."""


@dataclass(frozen=True)
class Given:
    """The arguments of a failed task, for its error callbacks."""

    body: tuple[Payload, ...]
    """The body of its message."""
    before: tuple[Payload, ...] = ()
    """The results that `message.joins` puts in front."""

    @property
    def size(self) -> int:
        """Size in bytes."""
        return total_size([*self.body, *self.before])


@dataclass(frozen=True)
class Error:
    """The argument of error callbacks: the failed task's message, and its error as `payload.errors` writes it."""

    message: Message
    error: dict[str, Any]
    given: Given | None = None
    """The arguments of the failed task; None if they are not sent along."""


class MemberFailed(Exception):
    """A member of a tree ended without a result."""

    def __init__(self, message: Message, reason: BaseException) -> None:
        super().__init__(message.id)
        self.message = message
        self.reason = reason
        self.dependency = message.id
        """The id that the chord's error names. For a chain in the header, the id of the chain's last step."""
        self.given: Given | None = None
        """The arguments of the task; None if this workflow does not know them."""
        self.heard: frozenset[Call] = frozenset()
        """Error callbacks that inner chords have called for this failure: an outer chord does not call them again."""


class MemberHalted(ApplicationError):
    """A member ended by `Ignore` or `Reject`, without a result: the nodes that would follow do not run."""


def revoked() -> ApplicationError:
    return ApplicationError("revoked", type=wire.REVOKED, non_retryable=True)


def ended_without_result(message: Message, value: Payload) -> MemberHalted:
    state = value.metadata[wire.ENDED_AS].decode()
    return MemberHalted(f"{message.task}[{message.id}] ended {state}", type=wire.HALTED, non_retryable=True)


def chord_failure(node: ChordNode, failed: MemberFailed) -> MemberFailed:
    """Return the failure of a chord, in Celery's words, after a member of its header failed."""
    _, error = how_it_failed(failed.reason)
    raised = from_plain(error)
    chord_error = error_of(ChordError(f"Dependency {failed.dependency} raised {raised!r}"))
    chord_error["traceback"] = error.get("traceback")
    reason = ApplicationError(str(chord_error["text"]), wire.plain(chord_error), type="ChordError", non_retryable=True)
    body = node.body.result_message
    failure = MemberFailed(replace(body, id=node.id), reason)
    failure.given = Given(body.body)
    return failure


def as_workflow_failure(failed: MemberFailed) -> ApplicationError:
    """Return how the workflow fails: with the member's own error. The text tells people which member it was."""
    reason = failed.reason
    state, error = how_it_failed(reason)
    text = f"{failed.message.task}[{failed.message.id}]: {error.get('text')}"
    if dependency_of(reason) is not None:  # a child workflow has named the member already
        text = str(reason)
    if state == states.REVOKED:
        return ApplicationError(str(error.get("text")), type=wire.REVOKED, non_retryable=True)
    return ApplicationError(text, wire.plain(error), failed.dependency, type=str(error.get("type")), non_retryable=True)


def dependency_of(cause: BaseException | None) -> str | None:
    """Return the id of the member that failed, as the failure of its workflow names it."""
    recorded = cause.details[1:2] if isinstance(cause, ApplicationError) else ()
    return str(recorded[0]) if recorded else None


def written(value: Value, tree: Tree) -> Payload:
    """Return the workflow's result as one payload. A list of results is only written if the workflow above wants it."""
    if isinstance(value, Payload):
        return value
    found: Any = None
    if tree.keeps:
        count, size, omitted = measured(value)
        room = tree.limit if tree.from_parent.room is None else tree.from_parent.room
        if omitted or size > min(room, tree.limit):
            found = {"large": [count, size]}
        else:
            payloads: list[Payload] = []
            structure = flattened(value, payloads)
            if size > SMALL:
                first = Payload({}, json.dumps(structure).encode())
                return Payload({"encoding": b"binary/plain", wire.VALUES: b"2"}, packed([first, *payloads]))
            found = {"values": structure, "payloads": wire.write_payloads(payloads)}
    return Payload({"encoding": b"json/plain", wire.VALUES: b"1"}, json.dumps(found).encode())


def read_values(result: Payload) -> Value:
    """Read a list of results that `written` wrote."""
    try:
        with read_together():
            return _read_values(result)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InvalidTaskError(f"not the results of a canvas: {result.data[:200]!r}") from None


def _read_values(result: Payload) -> Value:
    if result.metadata[wire.VALUES] == b"2":
        first, *payloads = unpacked(result.data)
        return unflattened(read_json(first.data), payloads)
    found = read_json(result.data)
    if not found:
        return []
    if "large" in found:
        return [OmittedResults(*found["large"])]
    return unflattened(found["values"], wire.read_payloads(found["payloads"]))


def failed_beforehand(tree: Tree) -> ApplicationError | None:
    """Return the failure of a tree that never runs because an earlier node failed; None for any other tree."""
    if not isinstance(tree.before, dict) or "failed" not in tree.before:
        return None
    try:
        found = read_json(tree.payloads[0].data)
        if found["state"] == states.REVOKED:
            return ApplicationError(str(found["error"]["text"]), type=wire.REVOKED, non_retryable=True)
        text, kind = str(found["error"].get("text")), str(found["error"].get("type"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InvalidTaskError(f"not how a task failed: {tree.payloads[0].data[:200]!r}") from None
    return ApplicationError(text, found["error"], type=kind, non_retryable=True)


def call_of(node: Node) -> Call:
    """Return the task that a callback calls, and its arguments as bytes."""
    message = node.result_message
    return message.task, tuple(payload.data for payload in message.body)


def flattened(value: Value, payloads: list[Payload]) -> Any:
    """Return a value as JSON that names its payloads by their place in `payloads`, and append them there."""
    if isinstance(value, Error):
        given = {}
        if value.given is not None:
            given = {"given": flattened([list(value.given.body), list(value.given.before)], payloads)}
        return {"error": value.error, "envelope": value.message.envelope(), **given}
    if isinstance(value, list):
        return [flattened(each, payloads) for each in value]
    payloads.append(value)
    return len(payloads) - 1


def given_in(written: Mapping[str, Any], payloads: Sequence[Payload]) -> Given | None:
    """Return the arguments of the failed task that a flattened error names; None if it names none."""
    if "given" not in written:
        return None
    body, before = written["given"]
    return Given(tuple(payloads[place] for place in body), tuple(payloads[place] for place in before))


def unflattened(written: Any, payloads: Sequence[Payload]) -> Value:
    """Return the value that `flattened` wrote."""
    if isinstance(written, dict):
        message = Message.read(written["envelope"], ())
        return Error(message, written["error"], given_in(written, payloads))
    if isinstance(written, list):
        return [unflattened(each, payloads) for each in written]
    return payloads[written]
