"""A message of Celery's, made into the unit that this package starts: protocols 1 and 2, links, chains and stamps.

Anyone may have written the message. Whatever is wrong with it ends in `CantCarry`, and the message stays in the broker.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ..canvas import chain
from ..canvas.planner import PlannedCall, as_unit, plan
from ..canvas.tree_ids import Ids
from ..celery_names.lists import as_list
from ..celery_names.serialization import loads, prepare_accept_content, registry
from ..exceptions import CeleryError
from ..log_lines.text_safety import one_line
from ..message.celery_call import AWAITED
from ..message.tree import Unit
from ..payload.bounds import MOST_BYTES, is_deeper, read_json, read_together
from ..payload.compression import decompress
from ..payload.serializers import RAW_TYPE, SIGNED, find
from ..security.signed_places import accepts_only_signed
from ..task.call_options import PROPERTIES, make_message

if TYPE_CHECKING:
    from ..interfaces import AppLike

CARRIED = (
    *("argsrepr", "group_index", "ignore_result", "kwargsrepr", "origin", "parent_id", "replaced_task_nesting"),
    *("root_id", "shadow"),
)
"""Headers of Celery's that are options of a call under the same name."""
PROTOCOL_HEADERS = frozenset(
    {
        *CARRIED,
        *("callbacks", "chain", "chord", "compression", "errbacks", "eta", "expires", "group", "id", "lang", "meth"),
        *("redelivered", "retries", "stamped_headers", "stamps", "task", "taskset", "timelimit", "utc"),
    }
)
"""Headers that have a meaning of their own. All others are the application's."""
OF_CELERY = "celery."
RUN_HERE = frozenset({"celery.accumulate", "celery.chunks", "celery.map", "celery.starmap"})
"""Built-in tasks of Celery that do the same here. The others work on Celery's result backend."""
DEEPEST = 150
"""Levels of lists and dicts in the links and chains of a message."""
LONGEST = 300
"""Characters of a text about a message."""

IN_CHORD = "it is in the header of a chord, which Celery counts in its result backend; a Celery worker has to run it"
IS_AWAITED = (
    "`worker --to-celery` has published it, and its workflow waits for Celery's result; a Celery worker has to run it"
)


class CantCarry(CeleryError):
    """The message stays on Celery's side. The text says why."""


@dataclass(frozen=True)
class Rules:
    """What the user of the bridge has chosen."""

    unknown: bool = False
    """Whether tasks are carried that the application does not know."""
    queues: Mapping[str, str] = field(default_factory=dict)
    """The queues here that have another name than in the broker, by their names there."""


@dataclass(frozen=True)
class BrokerCall:
    """A message as the broker has it."""

    queue: str
    body: bytes
    content_type: str
    content_encoding: str
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]
    lowest_first: bool = False
    """Whether the broker gives out priority 0 first, as Redis does."""

    @property
    def id(self) -> Any:
        return self.headers.get("id") or self.properties.get("correlation_id")

    @classmethod
    def read(cls, taken: Mapping[str, Any]) -> BrokerCall:
        """Read what the carrier has taken."""
        if "problem" in taken:
            raise CantCarry(taken["problem"])
        if "envelope" in taken:
            return cls._of_envelope(taken["queue"], base64.b64decode(taken["envelope"]))
        if "body" not in taken:
            raise CantCarry(f"it has {taken['size']:,} bytes, and {MOST_BYTES:,} may be read")
        return cls._of_parts(taken["queue"], base64.b64decode(taken["body"]), taken, taken)

    @classmethod
    def _of_envelope(cls, queue: str, raw: bytes) -> BrokerCall:
        """Read kombu's JSON, as Redis holds it."""
        try:
            found = read_json(raw)
            body = found["body"]
            if (found.get("properties") or {}).get("body_encoding") == "base64":
                body = base64.b64decode(body)
            body = body if isinstance(body, bytes) else body.encode()
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError, binascii.Error):
            raise CantCarry("it is no message of kombu's") from None
        named = {"content_type": found.get("content-type"), "content_encoding": found.get("content-encoding")}
        return cls._of_parts(queue, body, found, named, lowest_first=True)

    @classmethod
    def _of_parts(
        cls, queue: str, body: bytes, found: Mapping[str, Any], named: Mapping[str, Any], lowest_first: bool = False
    ) -> BrokerCall:
        headers, properties = found.get("headers") or {}, found.get("properties") or {}
        if not isinstance(headers, Mapping) or not isinstance(properties, Mapping):
            raise CantCarry("its headers or its properties are no dict")
        content_type, encoding = named["content_type"] or "application/json", named["content_encoding"] or "utf-8"
        return cls(queue, body, str(content_type), str(encoding), headers, properties, lowest_first)


def describe(taken: Mapping[str, Any]) -> str:
    """Return a line that names a message."""
    try:
        call = BrokerCall.read(taken)
        return one_line(f"{call.headers.get('task') or 'a message'}[{call.id or '?'}] of queue {call.queue}")[:LONGEST]
    except CantCarry:
        return one_line(f"a message of {taken['size']} bytes of queue {taken['queue']}")[:LONGEST]


def unit_of(app: AppLike, call: BrokerCall, rules: Rules) -> Unit:
    """Return what to start for a message, under the message's own ids.

    A message always gives the same workflow id, so the server refuses it if it comes a second time.

    :raises CantCarry: if the message has to stay where it is.
    """
    with read_together():
        content = _content(app, call)
    if isinstance(content, Mapping):
        return _of_protocol_1(app, call, content, rules)
    if isinstance(content, (list, tuple)) and len(content) == 3 and isinstance(call.headers.get("task"), str):
        args, kwargs, embed = content
        return _of_protocol_2(app, call, args, kwargs, embed, rules)
    raise CantCarry("it is no message of Celery's: neither of protocol 1 nor of protocol 2")


def _content(app: AppLike, call: BrokerCall) -> Any:
    body = call.body
    if method := call.headers.get("compression"):
        try:
            body = decompress(body, str(method))
        except Exception as error:
            raise CantCarry(f"its compression {method!r:.80} can't be undone: {error}") from None
    accepted = prepare_accept_content(app.conf["accept_content"]) or ()
    try:
        if _serializer(app, call) == SIGNED:
            return cast(Callable[[bytes], Any], find(SIGNED).decoder)(body)
        return loads(body, call.content_type, call.content_encoding, accept=accepted)
    except Exception as error:
        raise CantCarry(f"its {call.content_type:.80} can't be read: {error}") from None


def _serializer(app: AppLike, call: BrokerCall) -> str | None:
    """Return the name of the serialiser that the message was written with, and that its arguments go on with."""
    if call.content_type == RAW_TYPE and accepts_only_signed(app):
        return SIGNED  # it shares its content type with plain bytes
    return registry.type_to_name.get(call.content_type)


def _of_protocol_1(app: AppLike, call: BrokerCall, content: Mapping[str, Any], rules: Rules) -> Unit:
    about = {**content, "group": content.get("group") or content.get("taskset")}
    own = {name: value for name, value in call.headers.items() if name not in PROTOCOL_HEADERS}
    return _unit(app, call, about, content.get("args") or (), content.get("kwargs") or {}, content, own, rules)


def _of_protocol_2(app: AppLike, call: BrokerCall, args: Any, kwargs: Any, embed: Any, rules: Rules) -> Unit:
    own = {name: value for name, value in call.headers.items() if name not in PROTOCOL_HEADERS}
    if call.headers.get("stamped_headers"):
        own |= {"stamped_headers": call.headers["stamped_headers"], "stamps": call.headers.get("stamps") or {}}
    return _unit(app, call, call.headers, args, kwargs, embed, own, rules)


def _unit(
    app: AppLike,
    call: BrokerCall,
    about: Mapping[str, Any],
    args: Any,
    kwargs: Any,
    links: Any,
    own_headers: Mapping[str, Any],
    rules: Rules,
) -> Unit:
    """
    :param about: where the message has its id, eta, …: its headers, or its body if it is of protocol 1.
    :param links: where it has its callbacks and the rest of its chain.
    """
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, Mapping) or not isinstance(links, Mapping):
        raise CantCarry("its arguments are no list and no dict")
    if not isinstance(about.get("task"), str) or not isinstance(about.get("id"), str):
        raise CantCarry("it names no task and no id")
    if links.get("chord") or about["task"] == "celery.chord_unlock":
        raise CantCarry(IN_CHORD)
    if call.headers.get(AWAITED):
        raise CantCarry(IS_AWAITED)
    parts = [_list(links, name) for name in ("callbacks", "errbacks", "chain")]
    if is_deeper(parts, DEEPEST):
        raise CantCarry(f"its links or its chain are nested in more than {DEEPEST} levels")
    reader = SignatureReader(app, rules)
    reader.check(about["task"])
    options = _options(app, call, about, own_headers, rules)
    callbacks, errbacks, steps = ([reader.read(each) for each in part] for part in parts)
    if steps and _waits_in_chord(steps[0]):
        raise CantCarry(IN_CHORD)
    task = AsItCame(app, about["task"])
    first = app.signature(about["task"], args=tuple(args), kwargs=dict(kwargs), options=options)
    first.options.update({"link": callbacks, "link_error": errbacks})
    first._type = task
    whole = chain(first, *(app.signature(step) for step in reversed(steps)), app=app) if steps else first
    own_id = {} if whole._result_id() else {"task_id": str(uuid.uuid5(uuid.NAMESPACE_OID, about["id"]))}
    return as_unit(plan(whole, (), {}, own_id, Ids()).node, app)


def _options(
    app: AppLike, call: BrokerCall, about: Mapping[str, Any], own_headers: Mapping[str, Any], rules: Rules
) -> dict[str, Any]:
    """Return the options of `apply_async` that the message holds."""
    hard, soft = (*as_list(about.get("timelimit")), None, None)[:2]
    properties = {name: call.properties[name] for name in PROPERTIES if call.properties.get(name)}
    options = {
        **{name: about.get(name) for name in CARRIED},
        **properties,
        "task_id": about["id"],
        "queue": rules.queues.get(call.queue, call.queue),
        "group_id": about.get("group"),
        "eta": _moment(app, about.get("eta"), "eta"),
        "expires": _moment(app, about.get("expires"), "expires"),
        "retries": about.get("retries") or None,
        "time_limit": hard,
        "soft_time_limit": soft,
        "priority": _priority(call),
        "headers": dict(own_headers) or None,
        "serializer": _serializer(app, call),
        "compression": call.headers.get("compression"),
    }
    return {name: value for name, value in options.items() if value is not None}


def _moment(app: AppLike, value: Any, what: str) -> dt.datetime | None:
    if value is None:
        return None
    try:
        found = dt.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise CantCarry(f"its {what} {value!r:.80} is no time") from None
    return found if found.tzinfo else found.replace(tzinfo=app.naive_zone or dt.timezone.utc)


def _priority(call: BrokerCall) -> Any:
    """Return the priority with the meaning that it has here, where 9 goes first.

    In Redis 0 goes first, and every message without a priority has 0. So the others go behind them here, too.
    """
    priority = call.properties.get("priority")
    if not call.lowest_first or not isinstance(priority, int):
        return priority
    return None if priority <= 0 else max(0, 3 - priority // 3)


def _list(links: Mapping[str, Any], name: str) -> list[Any]:
    found = links.get(name) or []
    if not isinstance(found, (list, tuple)):
        raise CantCarry(f"its {name} are no list")
    return list(found)


# --- signatures ----------------------------------------------------------------------------------------------------


class SignatureReader:
    """Reads signatures that a message holds, with all signatures inside: dicts, or objects of Celery's."""

    def __init__(self, app: AppLike, rules: Rules) -> None:
        self._app, self._rules = app, rules

    def check(self, task: Any) -> None:
        """Raise if a task of this name can't run here."""
        if not isinstance(task, str):
            raise CantCarry(f"a task's name in it is {task!r:.80}")
        if task.startswith(OF_CELERY) and task not in RUN_HERE:
            raise CantCarry(f"{task:.80} works on Celery's own result backend")
        if task not in self._app.tasks and not self._rules.unknown:
            raise CantCarry(f"the application knows no task {task!r:.200}; --unknown carries it all the same")

    def read(self, found: Any) -> dict[str, Any]:
        """Return the signature as a plain dict, with its queue's name here."""
        if not isinstance(found, Mapping):
            raise CantCarry(f"a part of its canvas is {type(found).__name__} and no signature")
        options, kwargs = self._dict(found, "options"), self._dict(found, "kwargs")
        for name in ("link", "link_error"):
            if options.get(name):
                options[name] = [self.read(each) for each in as_list(options[name])]
        if options.get("queue") in self._rules.queues:
            options["queue"] = self._rules.queues[options["queue"]]
        if inside := INSIDE.get(str(found.get("subtask_type"))):
            inside(self, kwargs)
        else:
            self.check(found.get("task"))
        made = {"args": (), "subtask_type": None, "immutable": False, **found}
        return {**made, "options": options, "kwargs": kwargs}

    def _dict(self, found: Mapping[str, Any], name: str) -> dict[str, Any]:
        value = found.get(name) or {}
        if not isinstance(value, Mapping):
            raise CantCarry(f"the {name} of a signature in it are {type(value).__name__} and no dict")
        return dict(value)

    def of_list(self, kwargs: dict[str, Any]) -> None:
        kwargs["tasks"] = [self.read(each) for each in as_list(kwargs.get("tasks"))]

    def of_chord(self, kwargs: dict[str, Any]) -> None:
        header = kwargs.get("header")
        is_group = isinstance(header, Mapping)
        kwargs["header"] = self.read(header) if is_group else [self.read(each) for each in as_list(header)]
        kwargs["body"] = self.read(kwargs.get("body"))

    def of_map(self, kwargs: dict[str, Any]) -> None:
        kwargs["task"] = self.read(kwargs.get("task"))


INSIDE: Mapping[str, Callable[[SignatureReader, dict[str, Any]], None]] = {
    "chain": SignatureReader.of_list,
    "group": SignatureReader.of_list,
    "chord": SignatureReader.of_chord,
    "xmap": SignatureReader.of_map,
    "xstarmap": SignatureReader.of_map,
    "chunks": SignatureReader.of_map,
}
"""The kinds of signatures that hold others, each with the function that reads these."""


def _waits_in_chord(last: Mapping[str, Any]) -> bool:
    """Return whether a chord waits for this last step of a chain. Celery has then put the chord's body into it."""
    if last["options"].get("chord"):
        return True
    kwargs, kind = last["kwargs"], last["subtask_type"]
    if kind == "chord":
        return _waits_in_chord(kwargs["body"])
    if kind == "chain":
        return bool(kwargs["tasks"]) and _waits_in_chord(kwargs["tasks"][-1])
    return kind == "group" and any(_waits_in_chord(task) for task in kwargs["tasks"])


class AsItCame:
    """Stands for the task of a message. The message is made of what the broker had, and nothing else.

    The producer has checked the arguments, called the application's `apply_async` and sent `before_task_publish`. None
    of these happens again.
    """

    def __init__(self, app: AppLike, name: str) -> None:
        self.app, self.name = app, name

    def plan_call(self, call: PlannedCall, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        task: Any = self.app.tasks.get(self.name)
        own: Any = {} if task is None else task.own_options()
        message = make_message(self.app, self.name, args, kwargs, {**own, **options}, task)
        call.take(message, None, None)
        return self.app.AsyncResult(message.id)

    @property
    def AsyncResult(self) -> Any:
        return self.app.AsyncResult
