"""Writes notes into the workflow's memo: how members of a tree ended.

A client that asks for a member's state reads the history, and then these notes. A member that never ran has no activity
in the history, so only a note can tell how it ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from ...exceptions import PayloadTooLarge
from ...message import wire_names as wire
from ...message.failures import error_of, how_it_failed
from ...message.message import Message, total_size
from .canvas_limits import measured
from .node_values import MemberFailed, Value

NOTE_LIMIT, TEXT_LIMIT = 64 * 1024, 1000
"""Bytes of the error in a brief note, because all notes together may take 2 MiB. A larger error is cut to so many
characters of text. The member that did fail has the whole error."""


def note(member: str, reason: BaseException) -> None:
    """Note how a member ended."""
    state, error = how_it_failed(reason)
    workflow.upsert_memo({f"{wire.ENDED}{member}": {"state": state, "error": wire.plain(error)}})


def note_briefly(member: str, reason: BaseException) -> None:
    """Note how a member ended, without a long error: other members ended with the same error."""
    state, error = how_it_failed(reason)
    plain = wire.plain(error)
    if len(json.dumps(plain)) > NOTE_LIMIT:
        text = str(plain.get("text"))[:TEXT_LIMIT]
        named = {name: str(plain.get(name))[:TEXT_LIMIT] for name in ("module", "type")}
        plain = {**named, "text": text, "args": [{"value": text}], "traceback": None}
    workflow.upsert_memo({f"{wire.ENDED}{member}": {"state": state, "error": plain}})


def note_alike(members: Iterable[str], reason: BaseException) -> None:
    """Note once how several members ended. An id with a slash at its end names all members of a child workflow."""
    ids = list(members)
    state, error = how_it_failed(reason)
    workflow.upsert_memo({f"{wire.ENDED_ALIKE}{ids[0]}": {"of": ids, "state": state, "error": wire.plain(error)}})


def too_large(message: Message, reason: str) -> MemberFailed:
    """Note that a member can't run because something is too large, and return its failure."""
    text = f"task {message.task!r}: {reason}: have the tasks store what they make, and return where it is"
    recorded = error_of(PayloadTooLarge(text))
    failure = ApplicationError(text, wire.plain(recorded), type=PayloadTooLarge.__name__, non_retryable=True)
    note(message.id, failure)
    return MemberFailed(message, failure)


def refuse_too_large(message: Message, before: Value, limit: int) -> None:
    """Raise if the results that a member is given, and its own arguments, take more than `limit` bytes."""
    count, size, omitted = measured(before)
    own = total_size(message.encode())
    if omitted or own + size > limit:
        raise too_large(
            message,
            f"what comes before it, {count:,} results of {size:,} bytes together, and its own arguments are more "
            f"than the {limit:,} bytes that a task can be given (ptemporal.payload_limit)",
        )
