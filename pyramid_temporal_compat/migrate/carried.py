"""A message of Celery's, made into a call of ours: protocols 1 and 2, with links, chains and stamps."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..canvas import chain
from ..celery_names.serialization import loads, prepare_accept_content
from ..exceptions import CeleryError
from ..log_lines.text_safety import one_line
from ..payload.compression import decompress

if TYPE_CHECKING:
    from ..interfaces import AppLike

CARRIED = ("shadow", "group_index", "replaced_task_nesting", "root_id", "parent_id", "argsrepr", "kwargsrepr")
"""Headers of Celery's that are options of a call under the same name."""
PROTOCOL_HEADERS = frozenset(
    {
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"),
        *("parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting"),
        *(
            "stamped_headers",
            "stamps",
            "compression",
            "errbacks",
            "callbacks",
            "chain",
            "chord",
            "meth",
            "utc",
            "taskset",
        ),
    }
)
"""Headers that have a meaning of their own. All others are the application's."""


class CantCarry(CeleryError):
    """The message stays on Celery's side. The text says why."""


@dataclass(frozen=True)
class BrokerCall:
    """A message as the carrier hands it over."""

    tag: str
    queue: str
    body: bytes
    content_type: str
    content_encoding: str
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> BrokerCall:
        """Read what the carrier wrote."""
        return cls(
            found["tag"],
            found["queue"],
            base64.b64decode(found["body"]),
            found["content_type"] or "application/json",
            found["content_encoding"] or "utf-8",
            found["headers"] or {},
            found["properties"] or {},
        )


def signature_of(app: AppLike, call: BrokerCall) -> Any:
    """Return the signature that does what the message asks for, with the message's own ids.

    :raises CantCarry: if the message has to stay where it is.
    """
    content = _content(call, accept=app.conf["accept_content"])
    if isinstance(content, Mapping):
        return _of_protocol_1(app, call, content)
    if isinstance(content, (list, tuple)) and len(content) == 3 and isinstance(call.headers.get("task"), str):
        return _of_protocol_2(app, call, *content)
    raise CantCarry("it is no message of Celery's: neither of protocol 1 nor of protocol 2")


def describe(call: BrokerCall) -> str:
    """Return a line that names a message."""
    name, id = call.headers.get("task"), call.headers.get("id") or call.properties.get("correlation_id")
    return one_line(f"{name or 'a message'}[{id or call.tag}] of queue {call.queue}")[:300]


def _content(call: BrokerCall, accept: Collection[str]) -> Any:
    body = call.body
    if method := call.headers.get("compression"):
        try:
            body = decompress(body, str(method))
        except Exception as error:
            raise CantCarry(f"its compression {method!r} can't be undone: {error}") from None
    try:
        return loads(body, call.content_type, call.content_encoding, accept=_content_types(accept))
    except Exception as error:
        raise CantCarry(f"its {call.content_type} can't be read: {error}") from None


def _content_types(accept: Collection[str]) -> Collection[str]:
    return prepare_accept_content(accept) or ()


def _of_protocol_2(app: AppLike, call: BrokerCall, args: Any, kwargs: Any, embed: Any) -> Any:
    headers = call.headers
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, Mapping) or not isinstance(embed, Mapping):
        raise CantCarry("its body is not (args, kwargs, embed)")
    if embed.get("chord"):
        raise CantCarry(
            "it is in the header of a chord, whose counter is in Celery's result backend; let a Celery worker run it"
        )
    options: dict[str, Any] = {name: headers[name] for name in CARRIED if headers.get(name) is not None}
    if headers.get("group"):
        options["group_id"] = headers["group"]
    if headers.get("ignore_result") is not None:
        options["ignore_result"] = headers["ignore_result"]
    own = {name: value for name, value in headers.items() if name not in PROTOCOL_HEADERS}
    if headers.get("stamped_headers"):
        own |= {"stamped_headers": headers["stamped_headers"], "stamps": headers.get("stamps") or {}}
    if own:
        options["headers"] = own
    first = _signature(app, call, headers, args, kwargs, embed, options)
    steps = embed.get("chain") or ()
    if not steps:
        return first
    return chain(first, *(app.signature(step) for step in reversed(steps)), app=app)


def _of_protocol_1(app: AppLike, call: BrokerCall, content: Mapping[str, Any]) -> Any:
    if not isinstance(content.get("task"), str) or not isinstance(content.get("id"), str):
        raise CantCarry("its body names no task and no id")
    if content.get("chord"):
        raise CantCarry(
            "it is in the header of a chord, whose counter is in Celery's result backend; let a Celery worker run it"
        )
    options = {"group_id": content["taskset"]} if content.get("taskset") else {}
    args, kwargs = content.get("args") or (), content.get("kwargs") or {}
    return _signature(app, call, content, args, kwargs, content, options)


def _signature(
    app: AppLike,
    call: BrokerCall,
    about: Mapping[str, Any],
    args: Any,
    kwargs: Any,
    links: Mapping[str, Any],
    options: dict[str, Any],
) -> Any:
    """
    :param about: where the message has its id, eta, …: its headers, or its body if it is of protocol 1.
    """
    hard, soft = (*(about.get("timelimit") or ()), None, None)[:2]
    if not isinstance(about.get("id"), str):
        raise CantCarry("it has no id")
    given = {
        "task_id": about["id"],
        "queue": call.queue,
        "eta": _moment(about.get("eta"), "eta"),
        "expires": _moment(about.get("expires"), "expires"),
        "retries": about.get("retries") or None,
        "time_limit": hard,
        "soft_time_limit": soft,
        "priority": call.properties.get("priority"),
        "link": [app.signature(each) for each in links.get("callbacks") or ()] or None,
        "link_error": [app.signature(each) for each in links.get("errbacks") or ()] or None,
    }
    options |= {name: value for name, value in given.items() if value is not None}
    return app.signature(about["task"], args=tuple(args), kwargs=dict(kwargs), options=options)


def _moment(value: Any, what: str) -> dt.datetime | None:
    if value is None:
        return None
    try:
        found = dt.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise CantCarry(f"its {what} {value!r:.80} is no time") from None
    return found if found.tzinfo else found.replace(tzinfo=dt.timezone.utc)
