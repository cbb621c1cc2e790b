"""The message: one request to run a task. A frozen value, and the one thing that travels.

On the wire a message is two payloads. The *envelope* is JSON that every part may read: which task, which
id, when, where. The *body* holds the arguments in the task's own serialiser; only the side that runs the
task opens it, so the workflow that carries it neither decodes nor can be harmed by what is inside.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidTaskError
from ..payload import Payload
from ..payload.types import loads
from ..text_safety import one_line
from .backoff import PublishRetry

if TYPE_CHECKING:
    from ..payload.codecs import Codec

VERSION = 1
"""Raised when an older reader would misread a newer message; unknown keys alone do not raise it."""

LONGEST_ID = 1000
"""The server's limit on ids and names, in bytes."""
LONGEST_FAIRNESS_KEY = 64
RESERVED_QUEUES = "/_sys/"
"""Queues with this prefix are the server's own."""

_MARK = "ptemporal"
_TIMES = ("eta", "expires", "sent")

LONGEST = 11 * 365 * 86400
"""Seconds; a call takes less for a mistake in units."""

HEAVIEST = 1e38
"""What the wire's float takes."""


def is_name(value: object) -> bool:
    """Whether the server and a line of a log take this as a name or an id."""
    return isinstance(value, str) and value.isprintable() and bool(value.strip()) and len(value.encode()) <= LONGEST_ID


def _is_queue(value: object) -> bool:
    # Empty, it is the workflow's own.
    return value == "" or (is_name(value) and not str(value).startswith(RESERVED_QUEUES))


def _is_moment(value: datetime.datetime) -> bool:
    """Years that can be added to others without leaving the calendar."""
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
    body: Payload
    queue: str = field(metadata=_about(_is_queue, "queue"))
    eta: datetime.datetime | None = field(default=None, metadata=_about(_or_none(_is_moment), "eta"))
    """Not before this moment (aware)."""
    expires: datetime.datetime | None = field(
        default=None, metadata=_about(_or_none(_is_moment), "expires", carried=True)
    )
    """Not after this moment (aware): the task then ends REVOKED."""
    sent: datetime.datetime | None = field(default=None, metadata=_about(_or_none(_is_moment)))
    """When it left, by the sender's clock, for one that expires: its clock need not be the server's."""
    ahead: float = 0.0
    """By how many seconds the server's clock is ahead of the sender's, for one that expires: the workflow tells it."""
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
    """The group that it is a member of."""
    group_index: int | None = field(default=None, metadata=_about(None, "group_index", carried=True, place=True))
    chord: str | None = field(default=None, metadata=_about(_or_none(is_name)))
    """The result of the chord whose header it is in."""
    replaced_task_nesting: int = field(
        default=0, metadata=_about(None, "replaced_task_nesting", carried=True, place=True)
    )
    """How many tasks stood in this place before, each replaced by the next."""
    countdown: float | None = field(default=None, metadata=_about(_or_none(_is_pause), "countdown"))
    """Seconds that it waits once its turn has come: of use to a member of a tree that something comes before."""
    expires_in: float | None = field(default=None, metadata=_about(_or_none(_is_pause)))
    """Seconds until it expires, counted from when its turn has come: the same."""
    joins: Any = None
    """How what came before is put in front of the arguments: a place in the payloads that follow the body, a list of
    such, or an error."""
    follows: Any = field(default=None, metadata=_about(_or_none(_is_list)))
    """The tasks that are run with its result, each as `AsyncResult.as_tuple` writes it."""
    linked: int | None = field(default=None, metadata=_about(_or_none(_is_count)))
    """Where in the payloads that follow the body the tree of what is linked to it begins, for the task to see."""
    time_limit: float | None = field(default=None, metadata=_about(_or_none(_is_pause), "time_limit", carried=True))
    soft_time_limit: float | None = field(
        default=None, metadata=_about(_or_none(_is_pause), "soft_time_limit", carried=True)
    )
    heartbeat_timeout: float = field(default=30.0, metadata=_about(_is_timeout))
    """Seconds after which a worker that has gone silent counts as lost."""
    at_most_once: bool = False
    """`acks_late=False`: a lost worker fails the task rather than running it again."""
    ignore_result: bool | None = field(default=None, metadata=_about(None, "ignore_result", carried=True))
    """None: as the task itself says, where it runs."""
    shadow: str | None = field(default=None, metadata=_about(_or_none(is_name), "shadow", carried=True))
    """The name for logs and the web UI, where it is not the task's."""
    argsrepr: str = field(default="", metadata=_about(_is_text))
    kwargsrepr: str = field(default="", metadata=_about(_is_text))
    origin: str | None = None
    serializer: str = "json"
    compression: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict, metadata=_about(_is_dict))
    """The application's own headers, as plain JSON: only the side that runs the task makes values of it."""

    properties: Mapping[str, Any] = field(default_factory=dict, metadata=_about(_is_dict))
    """Those of a message's own properties that mean something to applications alone."""
    publish_retry: PublishRetry | None = None
    """How often it is tried while the server is away. It stays with the sender: it bounds the way out."""

    @property
    def is_passed_on(self) -> bool:
        """Whether another task gets its result: then it travels, though it may not be one to be kept."""
        return bool(self.follows) or self.chord is not None

    @property
    def summary(self) -> str:
        """One line for people: the call as it was written."""
        return one_line(f"{self.shadow or self.task}{call_repr(self.argsrepr, self.kwargsrepr)}")

    @property
    def messages(self) -> tuple[Message, ...]:
        """The single tasks in it: this one."""
        return (self,)

    def read_headers(self) -> dict[str, Any]:
        """The application's own headers, with the values that were given."""
        found: dict[str, Any] = loads(json.dumps(self.headers, default=dict).encode())
        return found

    def leaving(self, now: datetime.datetime) -> Message:
        """The message as it is at the moment in which it is sent."""
        return self if self.expires is None else self.copy(sent=now)

    def copy(self, **changes: Any) -> Message:
        return dataclasses.replace(self, **changes)

    def encode(self) -> tuple[Payload, Payload]:
        """The envelope and the body."""
        return Payload({"encoding": b"json/plain"}, _as_json(self.envelope()).encode()), self.body

    def envelope(self) -> dict[str, Any]:
        """All but the body, as JSON has it."""
        envelope: dict[str, Any] = {_MARK: VERSION}
        values = vars(self)
        for name, default in _ENVELOPE.items():
            value = values[name]
            if value is not default and value != default:
                envelope[name] = value.isoformat() if name in _TIMES else value
        return envelope

    def for_log(self, codec: Codec | None = None) -> str:
        """The whole message as one line of JSON, for the log that is all that is left of it; as `codec` has it."""
        envelope, body = self.encode()
        return json.dumps({"envelope": readable(envelope, codec), "body": readable(body, codec)})

    @classmethod
    def decode(cls, envelope: bytes, body: Payload) -> Message:
        """Read a message that this release or an older one wrote. What a newer one added is passed over.

        What it says may be anyone's word: a message that is read has in each part only what a call could put there.
        """
        try:
            found = json.loads(envelope)
        except (ValueError, RecursionError):
            raise _not_a_message(envelope) from None
        return cls.read(found, body)

    @classmethod
    def read(cls, found: Any, body: Payload) -> Message:
        """The same, of what `envelope` gave."""
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
            message = cls(body=body, **known)
        except (ValueError, TypeError):
            raise _not_a_message(found) from None
        values = vars(message)
        for name, is_valid in _CHECKS.items():
            if not is_valid(values[name]):
                raise _not_a_message(found, f"{name} is {values[name]!r:.80}: ")
        return message


class NewerMessage(InvalidTaskError):
    """A newer release wrote the message: a worker of that release can run it."""


def is_message(data: bytes) -> bool:
    """Whether this is the first payload of a message, of whatever version."""
    return data.startswith(b'{"' + _MARK.encode() + b'":')


def readable(payload: Payload, codec: Codec | None = None) -> object:
    """A payload inside a line of JSON: its value, if it is JSON, else what `Payload` is made of."""
    if codec is not None:
        payload = codec.encode(payload)
    try:
        return json.loads(payload.data) if payload.encoding == "json/plain" else _in_base64(payload)
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
    if entry.name not in ("body", "publish_retry")
}
"""Every part of a message that the envelope carries, and the value that need not be written."""

_CHECKS: dict[str, Callable[[Any], bool]] = {
    entry.name: entry.metadata["check"] for entry in dataclasses.fields(Message) if entry.metadata.get("check")
}
"""What the parts must be that a worker counts with, names things by, or iterates over."""


def _options(**flags: bool) -> dict[str, str]:
    return {
        entry.metadata["option"]: entry.name
        for entry in dataclasses.fields(Message)
        if entry.metadata.get("option") and all(entry.metadata.get(flag, False) is flags[flag] for flag in flags)
    }


CARRIED_OPTIONS = _options(carried=True)
"""The options of `apply_async` that a retry sends again, and the part of the message that holds each."""

OWN_OPTIONS = _options(place=False)
"""The options that a copy of a task's signature has, too: all but those that say where in a canvas the task is."""


def call_repr(argsrepr: str, kwargsrepr: str) -> str:
    """`(1, 2)` and `{'to': 'x'}` as `(1, 2, to='x')`, near enough to read."""
    args = argsrepr.strip().removeprefix("(").removesuffix(")").removesuffix(",")
    kwargs = kwargsrepr.strip()
    if kwargs in ("", "{}"):
        return f"({args})"
    return f"({args}, **{kwargs})" if args else f"(**{kwargs})"


def total_size(payloads: Sequence[Payload]) -> int:
    """Bytes that these payloads take on the wire, metadata included."""
    size = 0
    for payload in payloads:
        size += len(payload.data)
        for key, value in payload.metadata.items():
            size += len(key) + len(value)
    return size
