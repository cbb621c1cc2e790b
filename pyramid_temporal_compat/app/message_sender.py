"""Sends the messages of an app: puts them into the current transaction, and starts them after its commit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from ..enlist.call_watch import tell_called
from ..message.bundle import bundled
from ..message.ids import new_id
from ..message.lane import WORKFLOW
from ..message.message import Message
from ..message.outgoing import Outgoing
from ..message.tree import tree_options

if TYPE_CHECKING:
    from ..enlist.enlistment import OutboxRows
    from ..interfaces import AppLike
    from ..payload.codecs import Codec


class MessageSender:
    """Sends the messages of one app. All threads share it."""

    def __init__(self, app: AppLike) -> None:
        self._app = app

    def enlist(self, message: Outgoing, manager: Any = None) -> None:
        """Send a message, a canvas or a workflow's call when the current transaction commits; without one, now.

        During a move, the switch decides whether the server or Celery gets it.
        """
        app = self._app
        switch, conf, at_once = app.switch, app.conf.by_own_name(), []
        for unit in (message,) if switch is None else switch.sides(message):
            tell_called(unit)
            # Within a transaction nothing waits for the server: until its answer is there, calls take the workflow.
            if not _enlist()(self._with_lane(unit, 0), app, self, conf["ptemporal.enlist"], manager):
                at_once.append(self._with_lane(unit, conf["ptemporal.dispatch_timeout"]))
        if at_once:
            app.dispatcher.send(at_once)

    def _with_lane(self, message: Outgoing, patience: float) -> Outgoing:
        """Return what is to be sent, in its final lane.

        No later step changes the lane. So a process that sends the message again uses the same lane, where the server
        knows the message's id.
        """
        if not isinstance(message, Message) or message.lane == WORKFLOW or self._app.lane_choice.is_open(patience):
            return message
        return message.copy(lane=WORKFLOW)

    def id_for(self, queue: str, manager: Any = None) -> str:
        """Return the id for a call to this queue. With bundles, the transaction gives ids that may form a bundle."""
        conf = self._app.conf.by_own_name()
        if not conf["ptemporal.bundle"]:
            return new_id()
        return _id_within()(queue, self._app, self, conf["ptemporal.enlist"], manager)

    def units(self, messages: Sequence[Outgoing], blocks: Collection[str]) -> Sequence[Outgoing]:
        """Return what to start for the messages of a transaction: single messages, canvases and bundles."""
        conf = self._app.conf
        least = conf["ptemporal.bundle"]
        if not least or len(messages) < least:
            return messages
        return bundled(messages, blocks, least, **tree_options(conf))

    def codecs(self) -> Sequence[Codec]:
        """Return the codecs of payloads."""
        return self._app.codecs()

    def open_outbox(self, transaction: Any) -> OutboxRows | None:
        """Return the outbox rows of a transaction; None without an outbox."""
        outbox = self._app.outbox
        return None if outbox is None else outbox.open(transaction)

    def after_commit(self, units: Sequence[Outgoing]) -> None:
        """Start the workflows of a transaction that has committed."""
        self._app.dispatcher.after_commit(units)


@functools.cache  # an import statement, even of a loaded module, takes a twentieth of `.delay()`
def _enlist() -> Callable[..., bool]:
    from ..enlist.enlistment import enlist  # imports Pyramid and SQLAlchemy: 0.5 s

    return enlist


@functools.cache
def _id_within() -> Callable[..., str]:
    from ..enlist.enlistment import id_within  # as above

    return id_within
