"""Decide for each call whether Temporal or Celery gets it, and write it for that side."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..celery_side.publisher import check_broker
from ..exceptions import ImproperlyConfigured
from ..log_lines.text_safety import one_line
from ..log_lines.throttled_log import ThrottledLog
from ..message.for_celery import NotForCelery, calls_for_celery
from ..message.message import Message
from ..message.outgoing import Outgoing
from ..message.tree import Tree
from .kept import kept_rules
from .watch import WatchedRules

if TYPE_CHECKING:
    from ..interfaces import AppLike

log = logging.getLogger(__name__)

BROKER = "ptemporal.celery_broker"


class Switch:
    """Routes the calls of one app. Every thread may use it."""

    def __init__(self, app: AppLike) -> None:
        self._app = app
        self._watched = WatchedRules(functools.partial(kept_rules, app))
        self._only_here = ThrottledLog(log, logging.WARNING)

    def sides(self, unit: Outgoing) -> Sequence[Outgoing]:
        """Return what to send for a unit: the unit itself, or messages of Celery's."""
        if not isinstance(unit, (Message, Tree)) or not self._is_for_celery(unit):
            return (unit,)
        try:
            return calls_for_celery(unit, broker_of(self._app))
        except NotForCelery as why:
            self._only_here.say(
                "%d calls went to Temporal, though the switch gives them to Celery; the last of them: %s: %s",
                unit.task,
                one_line(why),
            )
            return (unit,)

    def _is_for_celery(self, unit: Message | Tree) -> bool:
        """Return whether Celery gets the unit. It gets a canvas only if it would get each of the canvas' tasks."""
        rules = self._watched.now
        if not rules.ordered:
            return False
        found = (unit,) if isinstance(unit, Message) else tuple(unit.root.all_messages())
        return bool(found) and all(rules.is_for_celery(each.task, each.queue, unit.id) for each in found)

    def close(self) -> None:
        """Look at the rules no longer."""
        self._watched.stop()


def broker_of(app: AppLike) -> str:
    """Return the URL of the broker of the application's own Celery workers."""
    url = app.conf[BROKER]
    if url is None:
        raise ImproperlyConfigured(
            f"the switch gives a call to Celery, and {BROKER} is not set: it is the URL of Celery's broker, as in "
            f"{BROKER} = redis://localhost:6379/0"
        )
    check_broker(url, BROKER)
    return str(url)
