"""The names that activity, workflow and client use between them: error types, signals, memo and metadata keys.

Histories contain these names. So a name is never changed; new names are added.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..exceptions import InvalidTaskError
from ..payload import Payload
from ..payload.bounds import read_json, read_together
from ..payload.types import dumps
from .message import Message
from .tree import MOST_VALUES, Tree

OWN = "ptemporal."
"""The beginning of the types of this package's own workflows and activities, which run no task."""

RETRY = "Retry"
"""Error type. The activity is retried with the same arguments, and the server waits until then."""
RETRY_ANEW = "RetryAnew"
"""Error type. The workflow runs a new activity: the details are `[seconds, envelope, body or None]`. A body is a list
of payloads."""
PLAIN_CALL = "ptemporal.plain-call"
"""Name of the local activity that completes a call without an envelope."""
NOT_REGISTERED = "NotRegistered"
REVOKED = "TaskRevokedError"
REVOKED_BEFOREHAND = "ptemporal.revoked"
"""Workflow type and queue of the placeholder for a task that was revoked before its message came."""
PAUSED_TYPE = "ptemporal.paused-type"
"""Workflow type and queue of the record that all tasks of one type are paused."""
FORGOTTEN = "ptemporal.forgotten"
"""Workflow type and queue of the placeholder for a member whose result was forgotten."""
WORKER_LOST = "WorkerLostError"
WORKER_SHUTDOWN = "WorkerShutdown"
REJECTED = "Reject"
IN_DOUBT = "InDoubt"
"""Error type. The worker could not look for the task's receipt."""
DATABASE_AWAY = "DatabaseAway"
"""Error type. The task was rolled back because its database went away."""
PAUSED = "Paused"
"""Error type. The task's type is paused, and the server holds the task until the type is resumed."""
RATE_LIMITED = "RateLimited"
"""Error type. The rate limit is reached, and the server holds the task until its turn comes."""
SLICE = "ptemporal.slice"
"""Name of the activity that runs several members of a tree, of the signal with its early report, and of the mark on a
report. The id of each such activity begins with the name."""

ABORT = "ptemporal.abort"
"""The signal that asks an abortable task to stop."""
ABORTED = "ptemporal.aborted"
"""Memo key: the task was asked to stop. For a member of a tree, a colon and the member's id follow."""

HANDED_OVER = "HandedOver"
"""Error type. The task was a standalone activity, needs a workflow, and goes on as one, under its id."""
HANDED_ON = "ptemporal.handed-on"
"""Memo key: the workflow goes on with a task that was a standalone activity, and waits for the task's retry."""
REPLACED = "Replaced"
"""Error type. A tree replaces the task: the details are `[the tree's payloads]`."""
CONTINUES = (RETRY_ANEW, REPLACED)
"""Types of an activity's failure after which the task goes on in another activity."""
HALTED = "Halted"
"""Error type. A member of a tree ended without a result, by `Ignore` or `Reject`."""
REVOKE = "ptemporal.revoke"
"""The signal that keeps members of a tree from starting. It carries their ids."""
TREE = "ptemporal.tree"
"""Memo key: the workflow runs a tree. The value says how many of its tasks can run as soon as it begins; True says that
the number is not known."""
BUNDLE = "ptemporal.bundle"
"""Memo key: the workflow runs a bundle. `TREE` is then in the memo, too."""
SCHEDULE = "ptemporal.schedule"
"""Memo key of a Schedule: which application declares it, and under which name."""
FIRING = "ptemporal.schedule-digest"
"""Memo key of a workflow that a Schedule starts: the digest of the declaration. It is here, because the server can't
change the memo of a Schedule itself."""
DRIVER = "ptemporal.schedule-driver"
"""The workflow that fires a Schedule whose times only its class knows. `schedules.drivers.driver_id` has its id."""
ASK_SCHEDULE = "ptemporal.ask-schedule"
"""The activity in which a driver asks the class whether a run is due."""
ENDED = "ptemporal.ended:"
"""Memo key, followed by a member's id: how the member ended, if no activity shows it."""
ENDED_ALIKE = "ptemporal.ended-alike:"
"""Memo key: how several members ended. The value names them by id, or by `ids.prefix_of` for a whole workflow."""
ADDED = "ptemporal-added"
"""Metadata key of a result: the trees that the task added to the header of its chord, as JSON."""
VALUES = "ptemporal-values"
"""Metadata key of a child workflow's result: the result is a list of results."""

ENDED_AS = "ptemporal-state"
"""Metadata key of a result: the task ended in this state, without a result."""

NOT_KEPT = "ptemporal-not-kept"
"""Metadata key of a result: the caller asked for the result not to be kept."""

SIGNED_RESULT = "ptemporal-signed-result"
"""Metadata key of a result: the signed value also names the task that returned it."""

CHILDREN = "ptemporal-children"
"""Metadata key of a result: the tasks that the task called, as JSON."""

RETRIED = "ptemporal-retries"
"""Metadata key of a result: the number of retries, if not 0. An error has it under `RETRIES`."""

RETRIES = "retries"
CHANGED = "changed"
"""Heartbeat key: the message that the next attempt runs instead of the activity's input, as `[envelope, body]`."""
ORDERLY = "orderly"
COUNTED = "counted"
"""Keys of a heartbeat, and of the second detail of a retry's failure: how many attempts ended with an answer of the
worker, and how many attempts there were. The other attempts lost their worker."""
STATE = "state"
META = "meta"
"""Heartbeat keys: the state that the task has set, and its data. The heartbeat's only detail is a dict."""
MEMBER = "member"
"""Heartbeat key of a slice: the id and the task of the member that runs."""
ENDS = "ends"
"""Heartbeat key of a slice: the report on the members that have ended, before the next step of a chain begins."""


SUMMARY_LIMIT = 200
"""Characters of a summary in the web UI. The server takes 400 bytes, and a character may be several bytes."""


def count(value: Any, otherwise: int = 0) -> int:
    """Return a count that came over the wire, or `otherwise` if it is not one. Anyone may have written it."""
    if isinstance(value, bytes):
        value = int(value) if value.isdigit() and len(value) < 10 else None
    return value if type(value) is int and 0 <= value < 2**31 else otherwise


def memo_of(unit: Message | Tree) -> dict[str, Any] | None:
    """Return the memo that marks the workflow of a canvas or of a bundle. A single task has none."""
    if not isinstance(unit, Tree):
        return None
    return {TREE: unit.root.ready, BUNDLE: True} if unit.bundle else {TREE: unit.root.ready}


def write_payload(payload: Payload) -> dict[str, Any]:
    """Return a payload as plain JSON."""
    return {
        "metadata": {key: base64.b64encode(value).decode() for key, value in payload.metadata.items()},
        "data": base64.b64encode(payload.data).decode(),
    }


def read_payload(written: Mapping[str, Any]) -> Payload:
    """Return the payload that `write_payload` was given."""
    metadata = {key: base64.b64decode(value) for key, value in written["metadata"].items()}
    return Payload(metadata, base64.b64decode(written["data"]))


def plain(value: Any) -> Any:
    """Return a value as plain JSON, which Temporal's own converter writes and reads unchanged."""
    return read_json(dumps(value))


def with_children(result: Payload, children: Sequence[Any]) -> Payload:
    """Return the result with the tasks that the task called in its metadata."""
    if not children:
        return result
    return Payload({**result.metadata, CHILDREN: json.dumps(children).encode()}, result.data)


def with_retries(result: Payload, retries: int) -> Payload:
    """Return the result with the number of retries in its metadata."""
    if not retries:
        return result
    return Payload({**result.metadata, RETRIED: str(retries).encode()}, result.data)


def ended_as(state: str, meta: Any = None) -> Payload:
    """Return the placeholder for the result of a task that ended without one, such as IGNORED."""
    return Payload({"encoding": b"json/plain", ENDED_AS: state.encode()}, json.dumps(meta).encode())


def write_payloads(payloads: Sequence[Payload]) -> list[Any]:
    return [write_payload(payload) for payload in payloads]


def read_payloads(written: Sequence[Any]) -> list[Payload]:
    return [read_payload(each) for each in written]


def with_added(result: Payload, added: Sequence[Sequence[Payload]]) -> Payload:
    """Return the result with the trees that the task added to its chord in its metadata."""
    if not added:
        return result
    text = json.dumps([write_payloads(tree) for tree in added])
    return Payload({**result.metadata, ADDED: text.encode()}, result.data)


def added_trees(result: Payload) -> list[Tree]:
    """Return the trees that a run has added to the header of its chord. The run's result names them."""
    try:
        with read_together(values=MOST_VALUES):
            added = read_json(result.metadata.get(ADDED, b"[]"))
            return [Tree.decode(read_payloads(tree)) for tree in added]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InvalidTaskError("what a task adds to its chord can't be read") from None
