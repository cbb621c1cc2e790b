"""The names by which the activity, the workflow and the client know how a task ended.

They stand in histories: a name here is never changed, only added to.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..payload import Payload
from ..payload.types import dumps
from .message import Message
from .tree import Tree

RETRY = "Retry"
"""The activity's own retry: same arguments, the server waits."""
RETRY_ANEW = "RetryAnew"
"""The workflow is to run the activity anew: details are `[seconds, envelope, body or None]`."""
NOT_REGISTERED = "NotRegistered"
REVOKED = "TaskRevokedError"
REVOKED_BEFOREHAND = "ptemporal.revoked"
"""The type, and the queue, of what stands for a task that was revoked before it came."""
FORGOTTEN = "ptemporal.forgotten"
"""The type, and the queue, of what stands for a bundled task whose result was forgotten."""
WORKER_LOST = "WorkerLostError"
WORKER_SHUTDOWN = "WorkerShutdown"
REJECTED = "Reject"
IN_DOUBT = "InDoubt"
"""The task's receipt could not be asked for."""
DATABASE_AWAY = "DatabaseAway"
"""The task was rolled back, since its database went away."""
RATE_LIMITED = "RateLimited"
"""The task's turn is later: the server holds it until then."""

ABORT = "ptemporal.abort"
"""The signal that asks an abortable task to stop."""
ABORTED = "ptemporal.aborted"
"""In the workflow's memo: it was. A member of a tree, with its id behind a colon."""

REPLACED = "Replaced"
"""A tree takes the run's place: details are `[the tree's payloads]`."""
HALTED = "Halted"
"""A member of a tree ended without a result, by `Ignore` or `Reject`."""
REVOKE = "ptemporal.revoke"
"""The signal that keeps members of a tree from starting: their ids."""
TREE = "ptemporal.tree"
"""In the workflow's memo: it runs a tree."""
BUNDLE = "ptemporal.bundle"
"""In the workflow's memo: it runs tasks that have nothing to do with each other."""
ENDED = "ptemporal.ended:"
"""In the workflow's memo, before a member's id: how that one ended, where no activity tells."""
ENDED_ALIKE = "ptemporal.ended-alike:"
"""The same for several at once: their ids, with a slash at the end for all those under it."""
ADDED = "ptemporal-added"
"""In a result's metadata: the trees that the run has added to the header of its chord, as JSON."""
VALUES = "ptemporal-values"
"""In the metadata of a child workflow's result: it is a list of results."""

ENDED_AS = "ptemporal-state"
"""In a result's metadata: the task ended in this state, and not with a result."""

NOT_KEPT = "ptemporal-not-kept"
"""In a result's metadata: the call asked for no result."""

CHILDREN = "ptemporal-children"
"""In a result's metadata: the tasks that the run asked for, as JSON."""

RETRIED = "ptemporal-retries"
"""In a result's metadata: how often the task was retried, if it was. A failure's error has it as `RETRIES`."""

RETRIES = "retries"
CHANGED = "changed"
"""The message that this attempt is to run in place of the activity's own: `[envelope, body]`."""
ORDERLY = "orderly"
"""How many attempts ended with the worker's word; the others lost their worker."""
STATE = "state"
META = "meta"
"""The keys of the heartbeat's one detail, a dict."""


SUMMARY_LIMIT = 200
"""Characters of a summary in the web UI. The server takes 400 bytes, and a character may be several bytes."""


def count(value: Any, otherwise: int = 0) -> int:
    """A count that came over the wire; `otherwise` for what is none. Anyone may have written it."""
    if isinstance(value, bytes):
        value = int(value) if value.isdigit() and len(value) < 10 else None
    return value if type(value) is int and 0 <= value < 2**31 else otherwise


def memo_of(unit: Message | Tree) -> dict[str, Any] | None:
    """What the workflow of a canvas, or of a bundle, is told from that of a single task by."""
    if not isinstance(unit, Tree):
        return None
    return {TREE: True, BUNDLE: True} if unit.bundle else {TREE: True}


def write_payload(payload: Payload) -> dict[str, Any]:
    """A payload inside JSON."""
    return {
        "metadata": {key: base64.b64encode(value).decode() for key, value in payload.metadata.items()},
        "data": base64.b64encode(payload.data).decode(),
    }


def read_payload(written: Mapping[str, Any]) -> Payload:
    metadata = {key: base64.b64decode(value) for key, value in written["metadata"].items()}
    return Payload(metadata, base64.b64decode(written["data"]))


def plain(value: Any) -> Any:
    """A value of ours as plain JSON, which Temporal's own converter writes and reads as it is."""
    return json.loads(dumps(value))


def with_children(result: Payload, children: Sequence[Any]) -> Payload:
    if not children:
        return result
    return Payload({**result.metadata, CHILDREN: json.dumps(children).encode()}, result.data)


def with_retries(result: Payload, retries: int) -> Payload:
    if not retries:
        return result
    return Payload({**result.metadata, RETRIED: str(retries).encode()}, result.data)


def ended_as(state: str, meta: Any = None) -> Payload:
    """The result of a task that ended without one."""
    return Payload({"encoding": b"json/plain", ENDED_AS: state.encode()}, json.dumps(meta).encode())


def write_payloads(payloads: Sequence[Payload]) -> list[Any]:
    return [write_payload(payload) for payload in payloads]


def read_payloads(written: Sequence[Any]) -> list[Payload]:
    return [read_payload(each) for each in written]


def with_added(result: Payload, added: Sequence[Sequence[Payload]]) -> Payload:
    if not added:
        return result
    text = json.dumps([write_payloads(tree) for tree in added])
    return Payload({**result.metadata, ADDED: text.encode()}, result.data)
