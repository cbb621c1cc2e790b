"""The message: one request to run a task. A frozen value, and the one thing that travels.

On the wire a message has two parts. The *envelope* is one payload of JSON that every part of this package may read:
which task, which id, when, where. It travels in a Temporal header (`payload.headers`). The *body* is the payloads of
the arguments, and nothing else (`message.body`). Only the process that runs the task opens the body, so the workflow
that carries it does not decode the arguments and can't be harmed by them.

A workflow without an envelope is a call by another Temporal client. `worker/workflows/plain_call.py` makes its message.

A new option of `apply_async` touches three files: `task/call_options.py` declares and checks it, `Message` gets a
field, and one file acts on it. The field's `_about` says whether a retry and a copied signature carry the option.
"""

from __future__ import annotations

import base64
import contextvars
import dataclasses
import datetime
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidTaskError
from ..log_lines.text_safety import one_line
from ..payload import Payload
from ..payload.bounds import read_json
from ..payload.types import loads
from .backoff import PublishRetry
from .lane import WORKFLOW, is_lane

if TYPE_CHECKING:
    from ..payload.codecs import Codec

VERSION = 1
"""Increase it when an older reader would misread a newer message. New keys alone do not need that."""

LONGEST_ID = 1000
"""The server's limit on ids and names, in bytes."""
LONGEST_FAIRNESS_KEY = 64
RESERVED_QUEUES = "/_sys/"
"""Queues with this prefix are the server's own."""

ENVELOPE = 600
"""Bytes that a message takes besides its arguments and headers, roughly."""

_MARK = "ptemporal"
_TIMES = ("eta", "expires", "sent")

LONGEST = 11 * 365 * 86400
"""The longest pause in seconds that a received message may have. A call is refused earlier, as a mistake in units."""

HEAVIEST = 1e38
"""The largest fairness weight: Temporal sends it as a 32-bit float."""


def is_name(value: object) -> bool:
    """Return whether the value can be a name or an id: the server takes it, and it stays on one line of a log."""
    return isinstance(value, str) and value.isprintable() and bool(value.strip()) and len(value.encode()) <= LONGEST_ID


def is_queue(value: object) -> bool:
    """Return whether the value can be the name of a queue."""
    return is_name(value) and not str(value).startswith(RESERVED_QUEUES)


def _is_queue_or_empty(value: object) -> bool:
    # An empty queue stands for the workflow's own queue.
    return value == "" or is_queue(value)


def _is_moment(value: datetime.datetime) -> bool:
    """Return whether the year is so near that adding a pause can't leave the calendar."""
    return value.tzinfo is not None and 1970 <= value.year < 3000


def _is_pause(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LONGEST


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_fairness_key(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value.encode()) <= LONGEST_FAIRNESS_KEY


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_timeout(value: object) -> bool:
    return value != 0 and _is_pause(value)


def _is_weight(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 < value < HEAVIEST


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _about(
    check: Callable[[Any], bool] | None = None, option: str = "", *, carried: bool = False, place: bool = False
) -> dict[str, Any]:
    """Return what is to be known of one part of a message.

    :param check: what a received value must fulfil, because anyone may have written it.
    :param option: the option of `apply_async` whose value this part holds.
    :param carried: a retry sends the option again, and `self.request` shows it.
    :param place: the option says where in a canvas the task is. A copy of the task's signature leaves it out.
    """
    return {"check": check, "option": option, "carried": carried, "place": place}


@dataclass(frozen=True)
class Message:
    """What to run, under which id, with what, when and where."""

    task: str = field(metadata=_about(is_name))
    id: str = field(metadata=_about(is_name))
    body: tuple[Payload, ...]
    """The arguments, as `message.body` writes them."""
    queue: str = field(metadata=_about(_is_queue_or_empty, "queue"))
    eta: datetime.datetime | None = field(default=None, metadata=_about(_or_none(_is_moment), "eta"))
    """The task does not start before this moment (aware)."""
    expires: datetime.datetime | None = field(
        default=None, metadata=_about(_or_none(_is_moment), "expires", carried=True)
    )
    """The task does not start after this moment (aware): it ends REVOKED."""
    sent: datetime.datetime | None = field(default=None, metadata=_about(_or_none(_is_moment)))
    """When the message was sent, by the sender's clock, which may differ from the server's. Only set if it expires."""
    ahead: float = 0.0
    """By how many seconds the server's clock is ahead of the sender's. The workflow sets it if the message expires."""
    priority: int | None = field(default=None, metadata=_about(_or_none(_is_count), "priority"))
    fairness_key: str | None = field(
        default=None, metadata=_about(_or_none(_is_fairness_key), "fairness_key", carried=True)
    )
    fairness_weight: float | None = field(
        default=None, metadata=_about(_or_none(_is_weight), "fairness_weight", carried=True)
    )
    retries: int = field(default=0, metadata=_about(_is_count, "retries", carried=True, place=True))
    root_id: str | None = field(default=None, metadata=_about(_or_none(is_name), "root_id", carried=True, place=True))
    parent_id: str | None = field(
        default=None, metadata=_about(_or_none(is_name), "parent_id", carried=True, place=True)
    )
    group: str | None = field(default=None, metadata=_about(_or_none(is_name), "group_id", carried=True, place=True))
    """The id of the group that the task is a member of."""
    group_index: int | None = field(
        default=None, metadata=_about(_or_none(_is_count), "group_index", carried=True, place=True)
    )
    chord: str | None = field(default=None, metadata=_about(_or_none(is_name)))
    """The id of the chord whose header the task is in."""
    replaced_task_nesting: int = field(
        default=0, metadata=_about(_is_count, "replaced_task_nesting", carried=True, place=True)
    )
    """How many tasks had this place in the canvas before: each was replaced by the next."""
    countdown: float | None = field(default=None, metadata=_about(_or_none(_is_pause), "countdown"))
    """Seconds to wait after the previous task of the canvas has ended. `eta` counts from the call instead."""
    expires_in: float | None = field(default=None, metadata=_about(_or_none(_is_pause)))
    """Seconds until the task expires, counted from the end of the previous task of the canvas."""
    joins: Any = None
    """What to put in front of the arguments: the index of a payload that follows the body, a list of such indexes, or
    an error."""
    follows: Any = field(default=None, metadata=_about(_or_none(_is_list)))
    """The tasks that run with this task's result, each as `AsyncResult.as_tuple` writes it."""
    linked: int | None = field(default=None, metadata=_about(_or_none(_is_count)))
    """The index, among the payloads that follow the body, at which the tree of callbacks begins. Tasks can read it."""
    more: int = field(default=0, metadata=_about(_is_count))
    """How many payloads follow the body in the activity's input. `joins` and `linked` name them."""
    attempted: Any = field(default=None, metadata=_about(_or_none(_is_dict)))
    """How an attempt in a slice ended, as `message.slices` writes it. The activity's first attempt ends in this way."""
    scheduled: str | None = field(default=None, metadata=_about(_or_none(_is_text)))
    """The name of the periodic task whose schedule started this run."""
    time_limit: float | None = field(default=None, metadata=_about(_or_none(_is_pause), "time_limit", carried=True))
    soft_time_limit: float | None = field(
        default=None, metadata=_about(_or_none(_is_pause), "soft_time_limit", carried=True)
    )
    heartbeat_timeout: float = field(default=30.0, metadata=_about(_is_timeout))
    """Seconds without a heartbeat after which the worker counts as lost."""
    lane: str = field(default=WORKFLOW, metadata=_about(is_lane))
    """What carries the task if it is sent alone: a workflow, or its activity only."""
    at_most_once: bool = False
    """`acks_late=False`: a lost worker fails the task rather than running it again."""
    held: bool = False
    """Whether this activity only waits until the task's type is resumed. It never runs the function, so the server may
    offer it more than once, even if the task runs at most once."""
    ignore_result: bool | None = field(default=None, metadata=_about(None, "ignore_result", carried=True))
    """None: the task's own setting decides, in the worker."""
    shadow: str | None = field(default=None, metadata=_about(_or_none(is_name), "shadow", carried=True))
    """A name for logs and the web UI that replaces the task's."""
    argsrepr: str = field(default="", metadata=_about(_is_text))
    kwargsrepr: str = field(default="", metadata=_about(_is_text))
    origin: str | None = None
    serializer: str = "json"
    compression: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict, metadata=_about(_is_dict))
    """The application's own headers as plain JSON. Only the worker turns them back into values such as dates."""

    properties: Mapping[str, Any] = field(default_factory=dict, metadata=_about(_is_dict))
    """Message properties that only applications use, such as `app_id`."""
    publish_retry: PublishRetry | None = None
    """How often the message is sent again while the server is away. The sender alone uses it, so it does not travel."""
    publish_context: contextvars.Context | None = field(default=None, compare=False, repr=False)
    """The context of the receivers that were told of the call. In it, they learn that the message has left. It does not
    travel."""

    @property
    def is_passed_on(self) -> bool:
        """Whether another task gets the result. Then the result travels even if it is not to be kept."""
        return bool(self.follows) or self.chord is not None

    @property
    def summary(self) -> str:
        """The call in one line, for people."""
        return one_line(f"{self.shadow or self.task}{call_repr(self.argsrepr, self.kwargsrepr)}")

    @property
    def messages(self) -> tuple[Message, ...]:
        """The message itself, as a tuple, because a tree has the same property."""
        return (self,)

    @property
    def rough_size(self) -> int:
        """Size in bytes that the message takes in a tree: an estimate that is never too small, and quick."""
        size = total_size(self.body) + len(self.argsrepr) + len(self.kwargsrepr) + ENVELOPE
        return size + len(repr(self.headers)) if self.headers else size

    def apart(self) -> tuple[Message, tuple[Payload, ...]]:
        """Return the message that an activity was given with its own body, and the payloads that follow the body."""
        count = len(self.body) - self.more
        if count < 0:
            raise InvalidTaskError(
                f"not a task message: {self.more} payloads follow its body, and {len(self.body)} came"
            )
        return (self.copy(body=self.body[:count], more=0) if self.more else self), self.body[count:]

    def read_headers(self) -> dict[str, Any]:
        """Return the application's own headers with the values that the caller gave."""
        found: dict[str, Any] = loads(json.dumps(self.headers, default=dict).encode())
        return found

    def leaving(self, now: datetime.datetime) -> Message:
        """Return the message with the time of sending, which only a message that expires needs."""
        return self if self.expires is None else self.copy(sent=now)

    def copy(self, **changes: Any) -> Message:
        return dataclasses.replace(self, **changes)

    def encode(self) -> tuple[Payload, ...]:
        """Return the envelope, and then the body.

        A message that was read returns the very envelope that it was read from.
        """
        return self._envelope, *self.body

    @functools.cached_property
    def _envelope(self) -> Payload:
        return _envelope_payload(_as_json(self.envelope()).encode())

    def __getstate__(self) -> dict[str, Any]:
        # Only the parts: the process that gets the message can write the envelope again.
        return {name: value for name, value in vars(self).items() if name not in ("_envelope", "publish_context")}

    def envelope(self) -> dict[str, Any]:
        """Return all parts but the body, as plain JSON. Parts that have their default are left out."""
        envelope: dict[str, Any] = {_MARK: VERSION}
        values = vars(self)
        for name, default in _ENVELOPE.items():
            value = values[name]
            if value is not default and value != default:
                envelope[name] = value.isoformat() if name in _TIMES else value
        return envelope

    def for_log(self, codec: Codec | None = None) -> str:
        """Return the message as one line of JSON, encoded by `codec`. It is logged when the message is lost."""
        envelope, *body = self.encode()
        return json.dumps({"envelope": readable(envelope, codec), "body": [readable(each, codec) for each in body]})

    @classmethod
    def decode(cls, envelope: bytes, body: Sequence[Payload]) -> Message:
        """Read a message that this release or an older one wrote. Keys that a newer release added are ignored.

        Anyone may have written it. So each part is checked: it holds only what a call could have put there.
        """
        try:
            found = read_json(envelope)
        except (ValueError, RecursionError):
            raise _not_a_message(envelope) from None
        message = cls.read(found, body)
        vars(message)["_envelope"] = _envelope_payload(envelope)  # so that the message is sent on as it came
        return message

    @classmethod
    def read(cls, found: Any, body: Sequence[Payload]) -> Message:
        """Read a message from its body and the plain JSON that `envelope` returned."""
        try:
            version, task_id = int(found[_MARK]), found["id"]
        except (ValueError, AttributeError, KeyError, TypeError, ArithmeticError, RecursionError):
            raise _not_a_message(found) from None
        if version > VERSION:
            raise NewerMessage(
                f"message {task_id!r:.80} has version {version}, this release reads up to {VERSION}: "
                "upgrade the workers before the processes that send"
            )
        known = {name: value for name, value in found.items() if name in _ENVELOPE}
        try:
            for name in _TIMES:
                if name in known:
                    known[name] = datetime.datetime.fromisoformat(known[name])
            message = cls(body=tuple(body), **known)
        except (ValueError, TypeError):
            raise _not_a_message(found) from None
        values = vars(message)
        for name, is_valid in _CHECKS.items():
            if not is_valid(values[name]):
                raise _not_a_message(found, f"{name} is {values[name]!r:.80}: ")
        return message


def _set_parts(self: Message, *first: Any, **named: Any) -> None:
    """Set the parts of a message at once. What `dataclass` writes makes a call for each part: a tenth of `.delay()`."""
    parts = {**_DEFAULTS, "headers": {}, "properties": {}, **named}
    if first:
        parts |= zip(_PARTS, first, strict=False)
    if len(parts) != len(_PARTS):
        wrong = ", ".join(sorted(parts.keys() ^ set(_PARTS)))
        raise TypeError(f"a message lacks these parts, or has no such parts: {wrong}")
    object.__setattr__(self, "__dict__", parts)


_PARTS = tuple(entry.name for entry in dataclasses.fields(Message))
_DEFAULTS = {
    entry.name: entry.default for entry in dataclasses.fields(Message) if entry.default is not dataclasses.MISSING
}
Message.__init__ = _set_parts  # type: ignore[method-assign]


class NewerMessage(InvalidTaskError):
    """A newer release wrote the message. A worker of that release can run it."""


def _envelope_payload(data: bytes) -> Payload:
    return Payload({"encoding": b"json/plain"}, data)


def readable(payload: Payload, codec: Codec | None = None) -> object:
    """Return a payload as a part of a line of JSON: the value of a JSON payload, else its metadata and its bytes."""
    if codec is not None:
        payload = codec.encode(payload)
    try:
        return read_json(payload.data) if payload.encoding == "json/plain" else _in_base64(payload)
    except (ValueError, RecursionError):
        return _in_base64(payload)


def _in_base64(payload: Payload) -> object:
    metadata = {key: value.decode(errors="replace") for key, value in payload.metadata.items()}
    return {"metadata": metadata, "base64": base64.b64encode(payload.data).decode()}


def _not_a_message(found: Any, why: str = "") -> InvalidTaskError:
    shown = found[:200] if isinstance(found, (bytes, str)) else str(found)[:200]
    return InvalidTaskError(f"not a task message: {why}{shown!r}")


_as_json = json.JSONEncoder(separators=(",", ":"), default=dict).encode

_ENVELOPE: dict[str, Any] = {
    entry.name: {} if entry.name in ("headers", "properties") else entry.default
    for entry in dataclasses.fields(Message)
    if entry.name not in ("body", "publish_retry", "publish_context")
}
"""Each part that the envelope carries, and its default, which is not written."""

_CHECKS: dict[str, Callable[[Any], bool]] = {
    entry.name: entry.metadata["check"] for entry in dataclasses.fields(Message) if entry.metadata.get("check")
}
"""The check for each part that a worker counts with, uses as a name, or iterates over."""


def _options(**flags: bool) -> dict[str, str]:
    return {
        entry.metadata["option"]: entry.name
        for entry in dataclasses.fields(Message)
        if entry.metadata.get("option") and all(entry.metadata.get(flag, False) is flags[flag] for flag in flags)
    }


CARRIED_OPTIONS = _options(carried=True)
"""The options of `apply_async` that a retry sends again, and the part of the message that holds each."""

OWN_OPTIONS = _options(place=False)
"""The options that a copy of a task's signature keeps. The task's place in a canvas is left out."""


def call_repr(argsrepr: str, kwargsrepr: str) -> str:
    """Return the call as people write it: `(1, 2)` and `{'to': 'x'}` become `(1, 2, **{'to': 'x'})`."""
    args = argsrepr.strip().removeprefix("(").removesuffix(")").removesuffix(",")
    kwargs = kwargsrepr.strip()
    if kwargs in ("", "{}"):
        return f"({args})"
    return f"({args}, **{kwargs})" if args else f"(**{kwargs})"


def total_size(payloads: Sequence[Payload]) -> int:
    """Return the size of the payloads in bytes, metadata included."""
    size = 0
    for payload in payloads:
        size += len(payload.data)
        for key, value in payload.metadata.items():
            size += len(key) + len(value)
    return size
