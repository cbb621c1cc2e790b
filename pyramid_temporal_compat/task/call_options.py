"""From a call to a message: what `apply_async` takes, checked where it was written.

Every option is named once in `OPTIONS`; one that is not there is an error, since an option that is passed
over in silence is a promise broken in silence.
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
from ..message.ids import new_id
from ..message.message import LONGEST_FAIRNESS_KEY, LONGEST_ID, RESERVED_QUEUES, Message, is_name, total_size
from ..payload import Payload, types
from ..payload.serializers import SIGNED, serialize
from .routing import queue_name

if TYPE_CHECKING:
    from ..interfaces import AppLike, TaskLike
    from ..settings import Settings

OPTIONS = {
    "add_to_parent": "whether the result is among self.request.children of the task that calls",
    "compression": "compress the arguments: zlib, bzip2, …",
    "countdown": "seconds from now until the task may start",
    "eta": "the moment from which the task may start",
    "expires": "seconds from now, or a moment, after which the task is not started any more",
    "fairness_key": "tasks of one key share a queue fairly with those of other keys (not Celery's)",
    "fairness_weight": "how large that share is (not Celery's)",
    "group_id": "the group that it is a member of",
    "group_index": "its place in that group",
    "headers": "the application's own headers, seen as self.request.headers",
    "ignore_result": "the result is not kept",
    "link": "what to run with the result: a signature, or several",
    "link_error": "what to run if it fails: a signature, or several",
    "parent_id": "the task that asked for this one",
    "priority": "0 to 9; 9 goes first",
    "queue": "the queue, by its name or as a kombu Queue",
    "replaced_task_nesting": "how many tasks it has taken the place of, one after the other",
    "retries": "how often the task has been retried",
    "retry": "whether sending is tried again while the server is away",
    "retry_policy": "how often and how soon: max_retries, interval_start, interval_step, interval_max",
    "root_id": "the task at the root of the tree",
    "serializer": "how the arguments are written: json, yaml, msgpack, pickle, or one registered",
    "shadow": "the name for logs and the web UI",
    "soft_time_limit": "seconds after which SoftTimeLimitExceeded is raised in the function",
    "stamped_headers": "the names of the options that are stamps",
    "task_id": "the id, if it must be a certain one",
    "time_limit": "seconds after which the task is stopped",
    "transaction_manager": "enlist in this manager's transaction (not Celery's)",
}

PROPERTIES = {
    "app_id": "which application sent the message",
    "cluster_id": "kept for applications that use it",
    "message_id": "the application's own id of the message",
    "type": "the application's own kind of message",
    "user_id": "who sent the message",
}
"""Options of Celery's that only travel: a task sees them in `self.request.properties`."""

EQUIVALENT = {
    "connection": "there is one connection for each process, to the server that ptemporal.address names",
    "delivery_mode": "every message is stored",
    "immediate": "a message waits for a worker",
    "mandatory": "a message waits for a worker",
    "producer": "there is one connection for each process, to the server that ptemporal.address names",
    "publisher": "there is one connection for each process, to the server that ptemporal.address names",
    "throw": "errors are raised where the result is asked for; it is for tasks that run eagerly",
    "reply_to": "results are read from the server",
}
"""Options of Celery's that are taken and need nothing done: what they ask for is so in any case."""

LATEST = datetime.timedelta(days=3650)
"""Farther in the future is taken for a mistake in units."""

HIGHEST_PRIORITY = 9

LEVELS = 3
"""How deep arguments are shown, where no setting says so."""


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
    """The message of `apply_async(args, kwargs, **options)`. `options` are the caller's over the task's own.

    `id_for` gives the id of a task of a queue, if the call names none.
    """
    if "stamped_headers" in options:
        _take_stamps(name, options)
    _refuse_unknown(name, options)
    conf = app.conf
    hard, soft = (_limit(name, key, options, task, conf) for key in ("time_limit", "soft_time_limit"))
    if hard and soft and soft > hard:
        raise InvalidCall(
            f"task {name!r}: soft_time_limit={soft:g} is above time_limit={hard:g}; "
            "soft_time_limit must be less than or equal to time_limit"
        )
    now = datetime.datetime.now(UTC)
    frame = worker_frame()
    # Settings are read with [], not as attributes: here, in the view, every microsecond is the user's.
    serializer = options.get("serializer") or conf["task_serializer"]
    compression = options.get("compression") or conf["task_compression"]
    levels = conf["task_repr_maxlevels"]
    queue = _queue(app, name, args, kwargs, options, task)
    chosen = options.get("task_id")
    task_id = id_for(queue) if chosen is None else _name(name, "task_id", chosen)
    message = Message(
        task=_name(name, "name", name),
        id=task_id,
        body=_body(name, task_id, args, kwargs, serializer, compression, task),
        queue=queue,
        eta=_start(app, name, options, now),
        expires=_expires(app, name, options.get("expires"), now),
        priority=_priority(
            app, name, queue, options.get("priority"), _inherited(conf, frame), conf["task_default_priority"]
        ),
        fairness_key=_fairness_key(name, options.get("fairness_key")),
        fairness_weight=_fairness_weight(name, options.get("fairness_weight")),
        retries=_retries(name, options.get("retries")),
        root_id=_optional_name(name, "root_id", options) or ((frame[1].root_id or frame[1].id) if frame else task_id),
        parent_id=_optional_name(name, "parent_id", options) or (frame[1].id if frame else None),
        group=_optional_name(name, "group_id", options),
        countdown=_seconds(name, "countdown", options.get("countdown")) or None,
        expires_in=_expires_in(name, options.get("expires")),
        group_index=options.get("group_index"),
        replaced_task_nesting=options.get("replaced_task_nesting") or 0,
        heartbeat_timeout=conf["ptemporal_heartbeat_timeout"],
        at_most_once=_at_most_once(app, task),
        ignore_result=_ignore_result(options, task, conf),
        time_limit=hard,
        soft_time_limit=soft,
        shadow=_optional_name(name, "shadow", options),
        argsrepr=str(options.get("argsrepr") or (brief(tuple(args), levels) if args else "()")),
        kwargsrepr=str(options.get("kwargsrepr") or (brief(dict(kwargs), levels) if kwargs else "{}")),
        origin=f"{os.getpid()}@{_HOSTNAME}",
        serializer=serializer,
        compression=compression,
        headers=_headers(name, options.get("headers")),
        properties={key: str(options[key]) for key in PROPERTIES if options.get(key) is not None},
        publish_retry=publish_retry_of(name, options, conf),
    )
    if not _is_surely_small(message, conf["ptemporal_payload_limit"], options):
        _check_size(message, args, kwargs, task, conf["ptemporal_payload_limit"])
    return message


def brief(value: Any, levels: int = LEVELS) -> str:
    """`value` for people, not longer than a few lines."""
    try:
        return _shortener(levels).repr(value)
    except Exception as error:  # a __repr__ of the application's own, or an int too long to print
        return f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"


def _body(
    name: str,
    task_id: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    serializer: str,
    compression: str | None,
    task: TaskLike | None,
) -> Payload:
    body: dict[str, Any] = {"args": list(args), "kwargs": dict(kwargs)}
    if serializer == SIGNED:  # what it was signed for: no other task takes these arguments
        body |= {"task": name, "id": task_id}
    try:
        return serialize(body, serializer, compression, "arguments")
    except NotSerializable as error:
        for parameter, value in _by_parameter(args, kwargs, task):
            try:
                serialize(value, serializer, None, parameter)
            except NotSerializable as reason:
                raise NotSerializable(f"task {name!r}: argument {reason}") from reason.__cause__
        raise NotSerializable(f"task {name!r}: {error}") from error


def _by_parameter(args: Sequence[Any], kwargs: Mapping[str, Any], task: TaskLike | None) -> list[tuple[str, Any]]:
    """Each argument, and what it is called: the parameter's name where the function is known."""
    names = task.positional_names(len(args)) if task is not None else []
    names += [f"args[{index}]" for index in range(len(names), len(args))]
    return [*zip(names, args, strict=True), *((str(key), value) for key, value in kwargs.items())]


def _optional_name(task: str, what: str, options: Mapping[str, Any]) -> str | None:
    return _name(task, what, options[what]) if options.get(what) else None


def _queue(app: AppLike, task: str, args: Any, kwargs: Any, options: dict[str, Any], task_type: TaskLike | None) -> str:
    """The queue that the call names, or that the routes have for it, or the default one."""
    amqp = app.amqp
    asked = options.get("queue")
    if asked is None and amqp.router.routes:
        routed = amqp.router.route(options.pop("route_name", None) or task, args, kwargs, options, task_type)
        asked = routed.pop("queue", None)
        for key, value in routed.items():
            options.setdefault(key, value)
    if asked is None and ("exchange" in options or "routing_key" in options):
        asked = amqp.queues.bound(options.get("exchange"), options.get("routing_key"))
    name = _name(task, "queue", queue_name(_first(asked, app.conf["task_default_queue"])))
    if name.startswith(RESERVED_QUEUES):
        raise InvalidCall(f"task {task!r}: queue={name!r} can't be used; {RESERVED_QUEUES} is the server's own")
    checked: str = amqp.queues.check(name)
    return checked


def _inherited(conf: Settings, frame: Any) -> int | None:
    """The priority of the task that calls, if the configuration hands it on."""
    if frame is None or not conf["task_inherit_parent_priority"]:
        return None
    priority: int | None = (frame[1].delivery_info or {}).get("priority")
    return priority


def _take_stamps(task: str, options: dict[str, Any]) -> None:
    """Make of the options that are stamps the headers that Celery has for them."""
    names = options.pop("stamped_headers") or []
    if isinstance(names, str):
        names = [names]
    missing = [name for name in names if name not in options]
    if missing:
        raise InvalidCall(f"task {task!r}: stamped_headers names {missing[0]!r}, and there is no option of that name")
    stamps = {name: options[name] for name in names}
    for name in stamps.keys() - _KNOWN:
        del options[name]
    if stamps:
        options["headers"] = {**(options.get("headers") or {}), "stamped_headers": list(stamps), "stamps": stamps}


_HOSTNAME = socket.gethostname()


_KNOWN = {*OPTIONS, *PROPERTIES, *EQUIVALENT, "argsrepr", "kwargsrepr", "exchange", "routing_key", "route_name"}


def _refuse_unknown(name: str, options: Mapping[str, Any]) -> None:
    if options.keys() <= _KNOWN:
        return
    option = next(option for option in options if option not in _KNOWN)
    near = difflib.get_close_matches(option, OPTIONS, 1)
    raise InvalidCall(
        f"task {name!r}: apply_async() has no option {option!r}"
        + (f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(sorted(OPTIONS))}")
    )


def _first(*values: Any) -> Any:
    for value in values:
        if value is not None:
            return value
    return None


def _name(task: str, what: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidCall(f"task {task[:80]!r}: {what}={value!r} is {type(value).__name__}, it must be a string")
    size = len(value.encode("utf-8", "surrogatepass"))
    if not is_name(value):
        shown = f"{value[:60]!r}… ({size} bytes)" if size > LONGEST_ID else repr(value)
        raise InvalidCall(
            f"task {task[:80]!r}: {what}={shown} can't be used; it takes 1 to {LONGEST_ID} bytes of printable text"
        )
    return value


def _limit(name: str, key: str, options: Mapping[str, Any], task: TaskLike | None, conf: Settings) -> float | None:
    # 0 is no limit: Celery's rule.
    return _seconds(name, key, _first(options.get(key), getattr(task, key, None), conf[f"task_{key}"])) or None


def _seconds(task: str, what: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not value >= 0 or value == math.inf:
        raise InvalidCall(f"task {task!r}: {what}={brief(value)}; it takes a number of seconds, not below 0")
    if value > LATEST.total_seconds():
        raise InvalidCall(
            f"task {task!r}: {what}={brief(value)} seconds is more than {LATEST.days} days; are these milliseconds?"
        )
    return float(value) if isinstance(value, float) else int(value)


def _moment(app: AppLike, task: str, what: str, value: Any, now: datetime.datetime) -> datetime.datetime:
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise InvalidCall(f"task {task!r}: {what}={value!r} is no ISO 8601 date and time") from None
    if not isinstance(value, datetime.datetime):
        raise InvalidCall(f"task {task!r}: {what}={value!r} is {type(value).__name__}; it takes an aware datetime")
    if value.tzinfo is None:
        zone = app.naive_zone
        if zone is None:
            raise InvalidCall(
                f"task {task!r}: {what}={value!r} has no time zone; use datetime.now(timezone.utc), "
                "or set celery.timezone, which says what naive times mean"
            )
        value = value.replace(tzinfo=zone)
    if value - now > LATEST:
        raise InvalidCall(f"task {task!r}: {what}={value.isoformat()} is more than {LATEST.days} days from now")
    if now - value > LATEST:  # long past is past; and the year 1 has no UTC in zones ahead of it
        return now - LATEST
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
    value = _first(*choices)
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


def _retries(task: str, value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidCall(f"task {task!r}: retries={brief(value)}; it takes the number of earlier retries")
    return int(value)


def _fairness_key(task: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value.encode()) > LONGEST_FAIRNESS_KEY:
        raise InvalidCall(
            f"task {task!r}: fairness_key={brief(value)}; "
            f"it takes at most {LONGEST_FAIRNESS_KEY} bytes of printable text"
        )
    return value


def _fairness_weight(task: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InvalidCall(f"task {task!r}: fairness_weight={brief(value)}; it takes a number above 0, such as 2.5")
    return float(value)


def _headers(task: str, value: Any) -> dict[str, Any]:
    """As they travel: plain JSON, in which `payload.types` finds the values again."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidCall(f"task {task!r}: headers={brief(value)}; it takes a dict with string keys")
    try:
        written: dict[str, Any] = json.loads(types.dumps(dict(value), "headers"))
    except NotSerializable as error:
        raise NotSerializable(f"task {task!r}: {error}") from error.__cause__
    return written


def _ignore_result(options: Mapping[str, Any], task: TaskLike | None, conf: Settings) -> bool | None:
    if task is None:  # not known here: the worker asks its own
        own: bool | None = options.get("ignore_result")
        return own
    return bool(_first(options.get("ignore_result"), task.own("ignore_result"), conf["task_ignore_result"]))


def _at_most_once(app: AppLike, task: TaskLike | None) -> bool:
    # Only an explicit `acks_late=False` asks for Celery's at-most-once; silence means durable.
    choice = None if task is None else task.own("acks_late")
    if choice is None and app.conf.value_set_for("task_acks_late"):
        choice = app.conf["task_acks_late"]
    return choice is False


_OF_ANY_SIZE = frozenset(
    (
        "argsrepr",
        "fairness_key",
        "fairness_weight",
        "group_id",
        "headers",
        "kwargsrepr",
        "parent_id",
        *PROPERTIES,
        "retries",
        "root_id",
        "shadow",
    )
)
"""Options that go into the envelope as they were given."""
_ENVELOPE_ROOM = 64 * 1024
"""Without those and the reprs an envelope is much smaller than this: every name in it has its limit."""
_LONGEST_ESCAPE = len(r"\ud83d\ude00")


def _is_surely_small(message: Message, limit: int, options: Mapping[str, Any]) -> bool:
    # Most messages are nowhere near the limit, and to encode one takes longer than all the other checks.
    reprs = (len(message.argsrepr) + len(message.kwargsrepr)) * _LONGEST_ESCAPE
    return options.keys().isdisjoint(_OF_ANY_SIZE) and len(message.body.data) + reprs + _ENVELOPE_ROOM < limit


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
        "pass where it is"
    )
