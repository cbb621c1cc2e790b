"""Records the task calls of a test: calls enlisted in a transaction, and calls dispatched to the server."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from .. import current
from ..app import Celery
from ..client.workflow_requests import SIGNAL, arguments_of
from ..enlist.enlistment import current_transaction, find_enlistment
from ..message.body import read_body
from ..message.message import Message
from ..message.outgoing import Outgoing
from ..message.workflow_call import WorkflowCall


@dataclass(frozen=True)
class Call:
    """One call of a task, as it is sent."""

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
        """When the task may start. A `countdown` has become an eta, too."""
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


@dataclass(frozen=True)
class WorkflowRequest:
    """A start of a hand-written workflow, or a signal to one, as it is sent."""

    workflow_id: str
    name: str
    """The type of the workflow, or the name of the signal."""
    args: tuple[Any, ...]
    """The arguments, as plain values: a dataclass has become a dict."""
    is_signal: bool
    call: WorkflowCall = field(repr=False, compare=False)

    @property
    def queue(self) -> str:
        return self.call.queue

    @property
    def eta(self) -> datetime.datetime | None:
        """When the workflow may start. A `start_delay` has become an eta."""
        return self.call.eta


def request_of(call: WorkflowCall, app: Celery) -> WorkflowRequest:
    """Return the start or the signal that a call holds."""
    connection = app.temporal
    args = connection.submit(lambda: arguments_of(call, connection.options.converter)).result()
    return WorkflowRequest(call.workflow_id, call.task, tuple(args), call.rpc == SIGNAL, call)


def call_of(message: Message) -> Call:
    """Return the call that a message holds."""
    body = read_body(message, [message.serializer, "json"])
    return Call(message.task, tuple(body["args"]), dict(body["kwargs"]), message)


class EnlistedCalls:
    """The value of the fixture `ptemporal_enlisted`: a function that returns the calls that wait for a commit."""

    def __call__(self, transaction_manager: Any = None) -> list[Call]:
        """Return the calls that wait for the commit of this manager's transaction; by default the current one's."""
        transaction = current_transaction(transaction_manager)
        if transaction is None:
            return []
        # An app that runs its tasks eagerly enlists them with another key.
        keys = [key for app in list(current.apps) for key in (app, vars(app).get("eager")) if key is not None]
        found = (find_enlistment(transaction, key) for key in keys)
        units = (unit for enlistment in found if enlistment is not None for unit in enlistment.messages)
        return [call_of(message) for unit in units for message in unit.messages]

    def names(self, transaction_manager: Any = None) -> list[str]:
        """Return the task names of the calls."""
        return [call.task for call in self(transaction_manager)]

    def workflows(self, transaction_manager: Any = None) -> list[WorkflowRequest]:
        """Return the starts of hand-written workflows, and the signals, that wait for the commit."""
        transaction = current_transaction(transaction_manager)
        if transaction is None:
            return []
        found = ((app, find_enlistment(transaction, app)) for app in list(current.apps) if isinstance(app, Celery))
        return [
            request_of(call, app)
            for app, enlistment in found
            if enlistment is not None
            for call in enlistment.messages
            if isinstance(call, WorkflowCall)
        ]


class DispatchedCalls(list[Call]):
    """The value of the fixture `ptemporal_dispatched`: the calls that were dispatched, the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.also_sent = False
        self.workflows: list[WorkflowRequest] = []
        """The starts of hand-written workflows, and the signals after a commit, the oldest first."""

    @property
    def names(self) -> list[str]:
        """Return the task names of the calls."""
        return [call.task for call in self]

    def of(self, task: Any) -> list[Call]:
        """Return the calls of one task, given as the task or by its name."""
        name = task if isinstance(task, str) else task.name
        return [call for call in self if call.task == name]

    def send_on(self) -> None:
        """From now on, also send the recorded calls to the server."""
        self.also_sent = True


_dispatcher_of: Callable[[Celery], Any] = Celery.dispatcher.fget  # type: ignore[attr-defined]  # the getter of a property


class RecordingDispatcher:
    """Stands in for an app's dispatcher, and records the messages that it gets."""

    def __init__(self, app: Celery, dispatched: DispatchedCalls) -> None:
        self._app = app
        self._dispatched = dispatched

    def send(self, messages: Sequence[Outgoing]) -> None:
        self._record(messages)
        if self._dispatched.also_sent:
            _dispatcher_of(self._app).send(messages)

    def after_commit(self, messages: Sequence[Outgoing]) -> None:
        self._record(messages)
        if self._dispatched.also_sent:
            _dispatcher_of(self._app).after_commit(messages)

    def _record(self, messages: Sequence[Outgoing]) -> None:
        self._dispatched.extend(call_of(message) for unit in messages for message in unit.messages)
        self._dispatched.workflows += [
            request_of(call, self._app) for call in messages if isinstance(call, WorkflowCall)
        ]


@contextmanager
def recording() -> Iterator[DispatchedCalls]:
    """While this lasts, record what any app dispatches, and send nothing."""
    dispatched = DispatchedCalls()
    with (
        mock.patch.object(Celery, "dispatcher", property(lambda app: RecordingDispatcher(app, dispatched))),
        mock.patch.object(Celery, "outbox", None),  # a relay would send messages from it
    ):
        yield dispatched
