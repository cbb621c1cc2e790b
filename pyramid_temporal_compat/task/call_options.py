"""Makes the message of a call, and checks the options of `apply_async` in the caller's own line.

`OPTIONS` names each option once. An unknown option is an error, because an option that is silently ignored breaks a
promise silently.
"""

from __future__ import annotations

import datetime
import difflib
import functools
import json
import math
import os
import reprlib
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..context import worker_frame
from ..exceptions import InvalidCall, NotSerializable, PayloadTooLarge
from ..message.backoff import publish_retry_of
from ..message.body import write_body
from ..message.ids import new_id
from ..message.message import LONGEST_FAIRNESS_KEY, LONGEST_ID, RESERVED_QUEUES, Message, is_name, total_size
from ..payload import Payload, types
from ..payload.serializers import SIGNED, serialize
from .routing import queue_name

if TYPE_CHECKING:
    from ..interfaces import AppLike, TaskLike

OPTIONS = {
    "add_to_parent": "whether self.request.children of the calling task has the result",
    "compression": "compress the arguments: zlib, bzip2, …",
    "countdown": "seconds from now until the task may start",
    "eta": "the time from which the task may start",
    "expires": "seconds from now, or a time, after which the task is no longer started",
    "fairness_key": "tasks of one key share a queue fairly with those of other keys (not Celery's)",
    "fairness_weight": "how large the share of the key is (not Celery's)",
    "group_id": "the id of the group that has the task as a member",
    "group_index": "the index of the task in its group",
    "headers": "the application's own headers, seen as self.request.headers",
    "ignore_result": "the result is not kept",
    "link": "signatures to run with the result: one, or several",
    "link_error": "signatures to run if the task fails: one, or several",
    "parent_id": "the id of the task that called this task",
    "priority": "0 to 9; 9 goes first",
    "queue": "the queue, by its name or as a kombu Queue",
    "replaced_task_nesting": "how many tasks were replaced before this task, one after the other",
    "retries": "how often the task has been retried",
    "retry": "whether sending is tried again while the server is unreachable",
    "retry_policy": "how often and how soon to try: max_retries, interval_start, interval_step, interval_max",
    "root_id": "the id of the first task of the tree",
    "serializer": "format of the arguments: json, yaml, msgpack, pickle, or a registered name",
    "shadow": "the name for logs and the web UI",
    "soft_time_limit": "seconds after which SoftTimeLimitExceeded is raised in the function",
    "stamped_headers": "the names of the options that are stamps",
    "task_id": "the id of the task; without it, the task gets a new id",
    "time_limit": "seconds after which the task is stopped",
    "transaction_manager": "the manager whose transaction takes the call (not Celery's)",
}

PROPERTIES = {
    "app_id": "the application that sent the message",
    "cluster_id": "a value for applications that use it",
    "message_id": "the application's own id of the message",
    "type": "the application's own kind of message",
    "user_id": "the user that sent the message",
}
"""Celery options that only travel with the message. The task sees them in `self.request.properties`."""

ACCEPTED_WITHOUT_EFFECT = {
    "connection": "there is one connection for each process, to the server that ptemporal.address names",
    "delivery_mode": "every message is stored",
    "immediate": "a message waits for a worker",
    "mandatory": "a message waits for a worker",
    "producer": "there is one connection for each process, to the server that ptemporal.address names",
    "publisher": "there is one connection for each process, to the server that ptemporal.address names",
    "throw": "get() raises the error of a task; throw is for tasks that run eagerly",
    "reply_to": "results are read from the server",
}
"""Celery options that change nothing here, each with the reason: the effect exists without them, or has no meaning."""

FARTHEST = datetime.timedelta(days=3650)
"""A time farther in the future than this is taken for a mistake in units."""

LARGEST_COUNT = 2**31 - 1
"""The largest number of retries, members or replacements that a message carries."""
HIGHEST_PRIORITY = 9

REPR_LEVELS = 3
"""How many levels of nested arguments are shown, unless a setting says otherwise."""


_NUMBERS = frozenset((int, float, bool, type(None)))
SHORT = 36
"""A text of numbers with at most so many characters is shown whole."""


@functools.cache
def _shortener(levels: int) -> reprlib.Repr:
    brief = reprlib.Repr()
    brief.maxlevel = levels
    brief.maxtuple = brief.maxlist = brief.maxdict = 12
    brief.maxstring = brief.maxother = 80
    return brief


UTC = datetime.timezone.utc


def make_message(
    app: AppLike,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    task: TaskLike | None,
    id_for: Callable[[str], str] = lambda queue: new_id(),
) -> Message:
    """Return the message of `apply_async(args, kwargs, **options)`.

    :param options: the task's own options, overridden by the caller's.
    :param id_for: returns a new id for a task of this queue. It is called if the call names no id.
    """
    if "stamped_headers" in options:
        _take_stamps(name, options)
    _refuse_unknown(name, options)
    conf = app.conf.by_own_name()  # this runs in the view, where a user waits
    hard, soft = _limit(name, "time_limit", options, task, conf), _limit(name, "soft_time_limit", options, task, conf)
    if hard and soft and soft > hard:
        raise InvalidCall(
            f"task {name!r}: soft_time_limit={soft:g} is above time_limit={hard:g}; "
            "soft_time_limit must be less than or equal to time_limit"
        )
    frame = worker_frame()
    serializer = options.get("serializer") or conf["task_serializer"]
    compression = options.get("compression") or conf["task_compression"]
    levels = conf["task_repr_maxlevels"]
    queue = queue_of_call(app, name, args, kwargs, options, task)
    chosen = options.get("task_id")
    task_id = id_for(queue) if chosen is None else _checked_name(name, "task_id", chosen)
    message = Message(
        task=_checked_name(name, "name", name),
        id=task_id,
        body=_body(name, task_id, args, kwargs, serializer, compression, task),
        queue=queue,
        priority=_priority(
            app, name, queue, options.get("priority"), _inherited(conf, frame), conf["task_default_priority"]
        ),
        root_id=_optional_name(name, "root_id", options) or ((frame[1].root_id or frame[1].id) if frame else task_id),
        parent_id=_optional_name(name, "parent_id", options) or (frame[1].id if frame else None),
        heartbeat_timeout=conf["ptemporal.heartbeat_timeout"],
        at_most_once=_at_most_once(app, task),
        ignore_result=_ignore_result(options, task, conf),
        time_limit=hard,
        soft_time_limit=soft,
        argsrepr=str(options.get("argsrepr") or (short_repr(tuple(args), levels) if args else "()")),
        kwargsrepr=str(options.get("kwargsrepr") or (short_repr(dict(kwargs), levels) if kwargs else "{}")),
        origin=str(options.get("origin") or f"{os.getpid()}@{_HOSTNAME}"),
        serializer=serializer,
        compression=compression,
        publish_retry=publish_retry_of(name, options, conf),
        **(_parts_by_option(app, name, options) if options else {}),
    )
    limit = conf["ptemporal.payload_limit"]
    if not _is_surely_small(message, limit, options):
        _check_size(message, args, kwargs, task, limit)
    return message


def _parts_by_option(app: AppLike, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a message that nothing but an option sets. Most calls have no options."""
    now = datetime.datetime.now(UTC)
    return {
        "eta": _start(app, name, options, now),
        "expires": _expires(app, name, options.get("expires"), now),
        "fairness_key": _fairness_key(name, options.get("fairness_key")),
        "fairness_weight": _fairness_weight(name, options.get("fairness_weight")),
        "retries": _count(name, "retries", options.get("retries")) or 0,
        "group": _optional_name(name, "group_id", options),
        "countdown": _seconds(name, "countdown", options.get("countdown")) or None,
        "expires_in": _expires_in(name, options.get("expires")),
        "group_index": _count(name, "group_index", options.get("group_index")),
        "replaced_task_nesting": _count(name, "replaced_task_nesting", options.get("replaced_task_nesting")) or 0,
        "shadow": _optional_name(name, "shadow", options),
        "headers": _headers(name, options.get("headers")),
        "properties": {key: str(options[key]) for key in PROPERTIES if options.get(key) is not None},
    }


def short_repr(value: Any, levels: int = REPR_LEVELS) -> str:
    """Return a text of `value` for people, a few lines long at most."""
    try:
        if levels and type(value) is tuple and _NUMBERS.issuperset(map(type, value)):  # most calls: ids and counts
            text = repr(value)  # a quarter of the time
            if len(text) <= SHORT:
                return text
        return _shortener(levels).repr(value)
    except Exception as error:  # the application's own __repr__ fails, or an int is too long to print
        return f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"


def _body(
    name: str,
    task_id: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    serializer: str,
    compression: str | None,
    task: TaskLike | None,
) -> tuple[Payload, ...]:
    body: dict[str, Any] = {"args": args, "kwargs": kwargs}
    if serializer == SIGNED:  # the signature then covers the task and the id: no other task accepts these arguments
        body |= {"task": name, "id": task_id}
    try:
        return write_body(body, serializer, compression)
    except NotSerializable as error:
        for parameter, value in _by_parameter(args, kwargs, task):
            try:
                serialize(value, serializer, None, parameter)
            except NotSerializable as reason:
                raise NotSerializable(f"task {name!r}: argument {reason}") from reason.__cause__
        raise NotSerializable(f"task {name!r}: {error}") from error


def _by_parameter(args: Sequence[Any], kwargs: Mapping[str, Any], task: TaskLike | None) -> list[tuple[str, Any]]:
    """Return each argument with its name: the parameter's name if the function is known, else `args[0]`."""
    names = task.positional_names(len(args)) if task is not None else []
    names += [f"args[{index}]" for index in range(len(names), len(args))]
    return [*zip(names, args, strict=True), *((str(key), value) for key, value in kwargs.items())]


def _optional_name(task: str, what: str, options: Mapping[str, Any]) -> str | None:
    return _checked_name(task, what, options[what]) if options.get(what) else None


def queue_of_call(
    app: AppLike, task: str, args: Any, kwargs: Any, options: dict[str, Any], task_type: TaskLike | None
) -> str:
    """Return the queue that the call names. Without one, return the queue of the routes, or the default queue."""
    amqp = app.amqp
    asked = options.get("queue")
    if asked is None and amqp.router.routes:
        routed = amqp.router.route(options.pop("route_name", None) or task, args, kwargs, options, task_type)
        asked = routed.pop("queue", None)
        for key, value in routed.items():
            options.setdefault(key, value)
    if asked is None and ("exchange" in options or "routing_key" in options):
        asked = amqp.queues.bound(options.get("exchange"), options.get("routing_key"))
    if asked is None:
        asked = app.conf["task_default_queue"]
    name = _checked_name(task, "queue", queue_name(asked))
    if name.startswith(RESERVED_QUEUES):
        raise InvalidCall(
            f"task {task!r}: queue={name!r} can't be used; the server reserves names that start with {RESERVED_QUEUES}"
        )
    checked: str = amqp.queues.check(name)
    return checked


def _inherited(conf: Mapping[str, Any], frame: Any) -> int | None:
    """Return the priority of the calling task, if `task_inherit_parent_priority` is set."""
    if frame is None or not conf["task_inherit_parent_priority"]:
        return None
    priority: int | None = (frame[1].delivery_info or {}).get("priority")
    return priority


def _take_stamps(task: str, options: dict[str, Any]) -> None:
    """Move the options that `stamped_headers` names into the headers, where Celery has its stamps."""
    names = options.pop("stamped_headers") or []
    if isinstance(names, str):
        names = [names]
    missing = [name for name in names if name not in options]
    if missing:
        raise InvalidCall(f"task {task!r}: stamped_headers names {missing[0]!r}, but the call has no such option")
    stamps = {name: options[name] for name in names}
    for name in stamps.keys() - _KNOWN:
        del options[name]
    if stamps:
        options["headers"] = {**(options.get("headers") or {}), "stamped_headers": list(stamps), "stamps": stamps}


_HOSTNAME = socket.gethostname()


_KNOWN = {
    *OPTIONS,
    *PROPERTIES,
    *ACCEPTED_WITHOUT_EFFECT,
    "argsrepr",
    "kwargsrepr",
    "origin",
    "exchange",
    "routing_key",
    "route_name",
}


def _refuse_unknown(name: str, options: Mapping[str, Any]) -> None:
    if options.keys() <= _KNOWN:
        return
    option = next(option for option in options if option not in _KNOWN)
    near = difflib.get_close_matches(option, OPTIONS, 1)
    raise InvalidCall(
        f"task {name!r}: apply_async() has no option {option!r}"
        + (f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(sorted(OPTIONS))}")
    )


def _first_not_none(*values: Any) -> Any:
    for value in values:
        if value is not None:
            return value
    return None


def _checked_name(task: str, what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidCall(f"task {task[:80]!r}: {what}={value!r} is {type(value).__name__}; it takes a string")
    if not is_name(value):
        size = len(value.encode("utf-8", "surrogatepass"))
        shown = f"{value[:60]!r}… ({size} bytes)" if size > LONGEST_ID else repr(value)
        raise InvalidCall(
            f"task {task[:80]!r}: {what}={shown} can't be used; it takes 1 to {LONGEST_ID} bytes of printable text"
        )
    return value


def _limit(
    name: str, key: str, options: Mapping[str, Any], task: TaskLike | None, conf: Mapping[str, Any]
) -> float | None:
    value = options.get(key)
    if value is None:
        value = getattr(task, key, None)
    if value is None:
        value = conf[f"task_{key}"]
    return _seconds(name, key, value) or None  # 0 means no limit, as in Celery


def _seconds(task: str, what: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not value >= 0 or value == math.inf:
        raise InvalidCall(f"task {task!r}: {what}={short_repr(value)}; it takes a number of seconds, not below 0")
    if value > FARTHEST.total_seconds():
        raise InvalidCall(
            f"task {task!r}: {what}={short_repr(value)} seconds is more than {FARTHEST.days} days; "
            "are these milliseconds?"
        )
    return float(value) if isinstance(value, float) else int(value)


def _moment(app: AppLike, task: str, what: str, value: Any, now: datetime.datetime) -> datetime.datetime:
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise InvalidCall(f"task {task!r}: {what}={value!r} is not an ISO 8601 date and time") from None
    if not isinstance(value, datetime.datetime):
        raise InvalidCall(f"task {task!r}: {what}={value!r} is {type(value).__name__}; it takes an aware datetime")
    if value.tzinfo is None:
        zone = app.naive_zone
        if zone is None:
            raise InvalidCall(
                f"task {task!r}: {what}={value!r} has no time zone; use datetime.now(timezone.utc), "
                "or set celery.timezone, the zone of times without a zone"
            )
        value = value.replace(tzinfo=zone)
    if value - now > FARTHEST:
        raise InvalidCall(f"task {task!r}: {what}={value.isoformat()} is more than {FARTHEST.days} days from now")
    if now - value > FARTHEST:  # any past time means now, and the year 1 of a zone ahead of UTC has no time in UTC
        return now - FARTHEST
    moment: datetime.datetime = value.astimezone(UTC)
    return moment


def _start(app: AppLike, task: str, options: Mapping[str, Any], now: datetime.datetime) -> datetime.datetime | None:
    countdown, eta = options.get("countdown"), options.get("eta")
    if countdown is not None and eta is not None:
        raise InvalidCall(f"task {task!r}: countdown={countdown!r} and eta={eta!r} both say when to start; give one")
    if eta is not None:
        return _moment(app, task, "eta", eta, now)
    seconds = _seconds(task, "countdown", countdown)
    return now + datetime.timedelta(seconds=seconds) if seconds else None


def _expires(app: AppLike, task: str, value: Any, now: datetime.datetime) -> datetime.datetime | None:
    if value is None:
        return None
    if isinstance(value, (datetime.datetime, str)):
        return _moment(app, task, "expires", value, now)
    return now + datetime.timedelta(seconds=_seconds(task, "expires", value) or 0)


def _expires_in(task: str, value: Any) -> float | None:
    return None if isinstance(value, (datetime.datetime, str)) else _seconds(task, "expires", value)


def _priority(app: AppLike, task: str, queue: str, *choices: Any) -> int | None:
    value = _first_not_none(*choices)
    if value is None:
        return None
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not number or (value > HIGHEST_PRIORITY and value > _highest_declared(app, queue)):
        raise InvalidCall(
            f"task {task!r}: priority={value!r}; it takes 0 to 9, 9 goes first (a higher number counts as 9, where "
            "task_queue_max_priority or the queue's max_priority allows it)"
        )
    return int(value)


def _highest_declared(app: AppLike, queue: str) -> int:
    """Return the highest priority that the application has declared for a queue, as RabbitMQ's queues have one."""
    declared = app.amqp.queues.get(queue)
    arguments = getattr(declared, "queue_arguments", None) or {}
    of_queue = getattr(declared, "max_priority", None) or arguments.get("x-max-priority")
    return min(of_queue or app.conf["task_queue_max_priority"] or 0, 255)


def _count(task: str, what: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_COUNT:
        raise InvalidCall(f"task {task!r}: {what}={short_repr(value)}; it takes a whole number, 0 to {LARGEST_COUNT:,}")
    return int(value)


def _fairness_key(task: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value.encode()) > LONGEST_FAIRNESS_KEY:
        raise InvalidCall(
            f"task {task!r}: fairness_key={short_repr(value)}; "
            f"it takes at most {LONGEST_FAIRNESS_KEY} bytes of printable text"
        )
    return value


def _fairness_weight(task: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InvalidCall(f"task {task!r}: fairness_weight={short_repr(value)}; it takes a number above 0, such as 2.5")
    return float(value)


def _headers(task: str, value: Any) -> dict[str, Any]:
    """Return the headers as they travel: plain JSON, from which `payload.types` restores the values."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidCall(f"task {task!r}: headers={short_repr(value)}; it takes a dict with string keys")
    try:
        written: dict[str, Any] = json.loads(types.dumps(dict(value), "headers"))
    except NotSerializable as error:
        raise NotSerializable(f"task {task!r}: {error}") from error.__cause__
    return written


def _ignore_result(options: Mapping[str, Any], task: TaskLike | None, conf: Mapping[str, Any]) -> bool | None:
    if task is None:  # not registered here: the worker asks its own task
        own: bool | None = options.get("ignore_result")
        return own
    return bool(_first_not_none(options.get("ignore_result"), task.own("ignore_result"), conf["task_ignore_result"]))


def _at_most_once(app: AppLike, task: TaskLike | None) -> bool:
    # Only an explicit `acks_late=False` means Celery's at-most-once. The default is a durable task.
    choice = None if task is None else task.own("acks_late")
    if choice is None and app.conf.value_set_for("task_acks_late"):
        choice = app.conf["task_acks_late"]
    return choice is False


_UNBOUNDED_OPTIONS = frozenset(("headers", *PROPERTIES))
"""Options that travel beside the arguments and may have any size."""
_ENVELOPE_ROOM = 64 * 1024
"""Bytes above the size of any envelope without these options and without reprs. Names and counts have their limits."""
_LONGEST_ESCAPE = len(r"\ud83d\ude00")
"""Bytes that one character of a repr takes at most in the envelope, which is JSON in ASCII."""


def _is_surely_small(message: Message, limit: int, options: Mapping[str, Any]) -> bool:
    # Most messages are far below the limit, and encoding a message takes longer than all other checks together. Its
    # rough size counts the body, too, which no escape makes longer: a large body is only measured for nothing.
    longest = message.rough_size * _LONGEST_ESCAPE
    return longest + _ENVELOPE_ROOM < limit and options.keys().isdisjoint(_UNBOUNDED_OPTIONS)


def _check_size(
    message: Message, args: Sequence[Any], kwargs: Mapping[str, Any], task: TaskLike | None, limit: int
) -> None:
    size = total_size(message.encode())
    if size <= limit:
        return
    sizes = [
        (len(serialize(value, message.serializer, message.compression, parameter).data), parameter)
        for parameter, value in [*_by_parameter(args, kwargs, task), ("headers", dict(message.headers))]
    ]
    most, largest = max(sizes)
    raise PayloadTooLarge(
        f"task {message.task!r}: it takes {size:,} bytes, and the limit is {limit:,} (ptemporal.payload_limit; the "
        f"server takes at most 2 MiB); the largest argument is {largest}, of {most:,} bytes: store such data, and "
        "pass its address"
    )
