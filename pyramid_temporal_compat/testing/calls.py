"""What a test's calls became: enlisted in a transaction, or dispatched."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from .. import current
from ..app import Celery
from ..enlist.enlistment import current_transaction, find_enlistment
from ..message.message import Message
from ..message.tree import Unit
from ..payload.serializers import deserialize


@dataclass(frozen=True)
class Call:
    """One call of a task, as it travels."""

    task: str
    """The task's name."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    message: Message = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        return self.message.id

    @property
    def queue(self) -> str:
        return self.message.queue

    @property
    def eta(self) -> datetime.datetime | None:
        """When it may start; `countdown` is told as this."""
        return self.message.eta

    @property
    def expires(self) -> datetime.datetime | None:
        return self.message.expires

    @property
    def priority(self) -> int | None:
        return self.message.priority

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.message.headers


def call_of(message: Message) -> Call:
    body = deserialize(message.body, [message.serializer, "json"])
    return Call(message.task, tuple(body["args"]), dict(body["kwargs"]), message)


class Enlisted:
    """Called with a transaction manager, or none for the current one: its calls that wait for the commit."""

    def __call__(self, transaction_manager: Any = None) -> list[Call]:
        transaction = current_transaction(transaction_manager)
        if transaction is None:
            return []
        # An app that runs its tasks eagerly enlists them under another key.
        keys = [key for app in list(current.apps) for key in (app, vars(app).get("eager")) if key is not None]
        found = (find_enlistment(transaction, key) for key in keys)
        units = (unit for enlistment in found if enlistment is not None for unit in enlistment.messages)
        return [call_of(message) for unit in units for message in unit.messages]

    def names(self, transaction_manager: Any = None) -> list[str]:
        """The names of the tasks alone."""
        return [call.task for call in self(transaction_manager)]


class Dispatched(list[Call]):
    """The calls that were dispatched, the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_on = False

    @property
    def names(self) -> list[str]:
        """The names of the tasks alone."""
        return [call.task for call in self]

    def of(self, task: Any) -> list[Call]:
        """Those of one task, given by itself or by its name."""
        name = task if isinstance(task, str) else task.name
        return [call for call in self if call.task == name]

    def send_on(self) -> None:
        """From now on what is recorded is also sent to the server."""
        self.sent_on = True


_dispatcher_of: Callable[[Celery], Any] = Celery.dispatcher.fget  # type: ignore[attr-defined]  # a property


class Recorder:
    """Stands for an app's dispatcher."""

    def __init__(self, app: Celery, dispatched: Dispatched) -> None:
        self._app = app
        self._dispatched = dispatched

    def send(self, messages: Sequence[Unit]) -> None:
        self._note(messages)
        if self._dispatched.sent_on:
            _dispatcher_of(self._app).send(messages)

    def after_commit(self, messages: Sequence[Unit]) -> None:
        self._note(messages)
        if self._dispatched.sent_on:
            _dispatcher_of(self._app).after_commit(messages)

    def _note(self, messages: Sequence[Unit]) -> None:
        self._dispatched.extend(call_of(message) for unit in messages for message in unit.messages)


@contextmanager
def recording() -> Iterator[Dispatched]:
    """While this lasts, what any app dispatches is noted, and goes nowhere."""
    dispatched = Dispatched()
    with (
        mock.patch.object(Celery, "dispatcher", property(lambda app: Recorder(app, dispatched))),
        mock.patch.object(Celery, "outbox", None),  # from which a relay would send it
    ):
        yield dispatched
