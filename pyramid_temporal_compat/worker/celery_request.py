"""Celery's `Request`: how the receivers of a worker's signals see a task that the worker has taken."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..canvas.tree_to_signature import Linked
from ..message.body import read_body
from ..message.celery_view import delivery_info, inspected, protocol_headers, stamp_names, stamps_of
from ..message.message import Message, call_repr
from ..payload import Payload

if TYPE_CHECKING:
    from ..interfaces import AppLike, TaskLike


class Request:
    """Has Celery's attributes, read from the message."""

    reply_to: str | None = None
    utc = True
    acknowledged = False
    """True only after the end of the task: the server keeps the message until then."""
    store_errors = True
    connection_errors: tuple[type[BaseException], ...] = ()
    already_revoked = False
    time_start: float | None = None
    worker_pid: int | None = None

    def __init__(
        self, app: AppLike, message: Message, retries: int, hostname: str, payloads: Sequence[Payload] = ()
    ) -> None:
        """:param payloads: the payloads that came with the message."""
        self.app = app
        self.message = message
        self.hostname = hostname
        self._linked = Linked(app, message, payloads)
        self.id = self.task_id = self.correlation_id = message.id
        self.name = self.task_name = self.type = message.task
        self.retries = retries
        self.argsrepr = message.argsrepr
        self.kwargsrepr = message.kwargsrepr
        self.eta = message.eta
        self.expires = message.expires
        self.root_id = message.root_id
        self.parent_id = message.parent_id
        self.group = message.group
        self.group_index = message.group_index
        self.chord: Any = None
        self.replaced_task_nesting = message.replaced_task_nesting
        self.ignore_result = message.ignore_result
        self.time_limits = (message.time_limit, message.soft_time_limit)
        self.delivery_info = delivery_info(message)
        self.stamped_headers = stamp_names(message)
        self.stamps = dict(stamps_of(message))

    @property
    def task(self) -> TaskLike:
        task: TaskLike = self.app.tasks[self.name]
        return task

    @functools.cached_property
    def _body(self) -> Mapping[str, Any]:
        return read_body(self.message, self.app.conf["accept_content"])

    @property
    def args(self) -> Any:
        return self._body["args"]

    @property
    def kwargs(self) -> Any:
        return self._body["kwargs"]

    @property
    def errbacks(self) -> Any:
        """The error callbacks."""
        return self._linked.errbacks

    @property
    def _payload(self) -> tuple[Any, Any, dict[str, Any]]:
        """The message's body, in Celery's form."""
        embed = {"callbacks": self._linked.callbacks, "errbacks": self.errbacks, "chain": None, "chord": self.chord}
        return self.args, self.kwargs, embed

    @property
    def request_dict(self) -> dict[str, Any]:
        """The headers of Celery's message."""
        return {
            **self.message.headers,
            **protocol_headers(self.message),
            "retries": self.retries,
            "delivery_info": self.delivery_info,
            "hostname": self.hostname,
        }

    def revoked(self) -> bool:
        return self.already_revoked

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Return what `inspect active` shows."""
        args, kwargs = (self.argsrepr, self.kwargsrepr) if safe else (self.args, self.kwargs)
        return {
            **inspected(self.message, args, kwargs, self.hostname),
            "time_start": self.time_start,
            "acknowledged": self.acknowledged,
            "delivery_info": self.delivery_info,
            "worker_pid": self.worker_pid or os.getpid(),
        }

    def humaninfo(self) -> str:
        return f"{self.name}[{self.id}]"

    def __str__(self) -> str:
        """Return the call with its eta and expiry."""
        eta = f" ETA:[{self.eta}]" if self.eta else ""
        expires = f" expires:[{self.expires}]" if self.expires else ""
        return f"{self.humaninfo()}{eta}{expires}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.humaninfo()} {call_repr(self.argsrepr, self.kwargsrepr)}>"
