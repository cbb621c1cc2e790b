"""Step: tell tools that watch Celery's beat that a periodic task was fired.

Celery's beat calls `Scheduler.apply_entry` when it sends a periodic task. Sentry, Datadog and others wrap this method,
and put headers into the entry's options. Here the server fires the task, and no Python runs then. So the worker that
takes the task calls the method, once for each attempt, and gives the headers to the task. Unless a tool has wrapped the
method, nothing happens.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...context import Context
from ...message.message import Message
from ...schedules.beat_scheduler import OWN_APPLY_ENTRY, ScheduleEntry, Scheduler
from ...schedules.entries import Entry
from ...schedules.sources import declared_entry

if TYPE_CHECKING:
    from ...interfaces import AppLike

log = logging.getLogger(__name__)


class FiredByServer(Scheduler):
    """The scheduler that tools see: the task of the entry is sent already."""

    def __init__(self, app: AppLike, request: Context) -> None:
        super().__init__(app, lazy=True)
        self._request = request

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Return the result of the task that runs. Its headers become those of the entry."""
        headers = entry.options.get("headers")
        if headers:
            self._request.update(own_headers=headers_with(self._request.own_headers or {}, headers))
        return self.app.AsyncResult(self._request.id)


def headers_with(sent: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message's own headers, and a tool's. If the message has inner headers, the tool's are there, too."""
    added = {name: value for name, value in given.items() if name not in sent}
    inner = {"headers": {**sent["headers"], **added}} if sent.get("headers") else {}
    return {**sent, **given, **inner}


def tell_of_firing(app: AppLike, message: Message, workflow_id: str | None, request: Context) -> None:
    """Call `Scheduler.apply_entry` for a task that the server has fired. The members of a canvas are not told."""
    if Scheduler.apply_entry is OWN_APPLY_ENTRY or message.scheduled is None or message.id != workflow_id:
        return
    try:
        found = declared_entry(app, message.scheduled)
        if found is not None:
            FiredByServer(app, request).apply_entry(entry_of(app, found, request))
    except Exception:  # what a tool does must not end the task
        log.warning("Scheduler.apply_entry failed for the periodic task %r", message.scheduled, exc_info=True)


def entry_of(app: AppLike, found: Entry, request: Context) -> ScheduleEntry:
    options = {**found.options, "headers": dict(request.own_headers or {})}
    return ScheduleEntry(
        found.name,
        found.task,
        schedule=found.schedule,
        args=request.args,
        kwargs=request.kwargs,
        options=options,
        app=app,
    )
