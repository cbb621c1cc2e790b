"""A panel for pyramid_debugtoolbar: what a request has called, and what became of each call.

`debugtoolbar.includes = pyramid_temporal_compat.debugtoolbar` adds it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pyramid_debugtoolbar.panels import DebugPanel

from ..current import app_of
from ..enlist.call_watch import watch

ON_ITS_WAY = "on its way"
BACKGROUND = "background"
"""The value of `ptemporal.dispatch` with which a request does not wait for the server."""
SENT = "sent"
DROPPED = "dropped"
KEPT = "kept by the outbox"
NOT_STARTED = "not started: the log says why"
LONGEST_TEXT = 2000
OUR_PACKAGES = ("pyramid_temporal_compat", "pyramid_tm", "transaction", "zope", "sqlalchemy", "pyramid_debugtoolbar")
ROUTER = "pyramid.router"
"""The module of Pyramid that calls the tweens. Behind it there is only the web server."""


@dataclass
class Call:
    """One call, as the panel shows it."""

    name: str
    id: str
    arguments: str
    queue: str
    called_at: str
    """The line of the application that made the call."""
    after: float
    """Seconds from the request's begin to the call."""
    fate: str = ON_ITS_WAY
    why: str = ""
    sent_after: float | None = None
    """Seconds from the request's begin until the server had the call."""


class Calls:
    """The calls of one request; a `CallWatch`."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.calls: list[Call] = []
        self._by_id: dict[str, Call] = {}

    def called(self, message: Any) -> None:
        call = Call(
            str(getattr(message, "shadow", None) or message.task),
            message.id,
            arguments_of(message)[:LONGEST_TEXT],
            str(getattr(message, "queue", "") or ""),
            line_of_the_application(),
            self._now(),
        )
        self.calls.append(call)
        self._by_id[call.id] = call

    def sent(self, unit: Any) -> None:
        for id in {unit.id, *(message.id for message in unit.messages)}:
            if (call := self._by_id.get(id)) is not None:
                call.fate, call.sent_after = SENT, self._now()

    def dropped(self, messages: Iterable[Any], why: str) -> None:
        where = line_of_the_application()
        for message in messages:
            if (call := self._by_id.get(message.id)) is not None:
                call.fate, call.why = DROPPED, f"{why}, {where}" if where else why

    def end(self, has_outbox: bool) -> None:
        """Settle the calls that were neither sent nor dropped, at the end of a request that waited for the server.

        The server may still accept them later.
        """
        for call in self.calls:
            if call.fate == ON_ITS_WAY:
                call.fate = KEPT if has_outbox else NOT_STARTED

    def _now(self) -> float:
        return time.monotonic() - self.began


def arguments_of(message: Any) -> str:
    """Return the arguments of a call, as `(5,)`, `{'to': 3}` or `(5,) {'to': 3}`. Of a canvas, what it calls."""
    args, kwargs = getattr(message, "argsrepr", None), getattr(message, "kwargsrepr", None)
    if not args and not kwargs:
        return str(message.summary)
    return " ".join(text for text in (args, kwargs) if text and text not in ("()", "{}"))


def line_of_the_application() -> str:
    """Return the innermost line on the stack that belongs to no package of ours, as `views.py:57 in create`.

    Return nothing if the application has no part in it, as in the abort of a request that raised.
    """
    for frame, line in traceback.walk_stack(None):
        name = str(frame.f_globals.get("__name__", ""))
        if name == ROUTER:
            break
        if name.partition(".")[0] not in OUR_PACKAGES:
            return f"{frame.f_code.co_filename.rpartition('/')[2]}:{line} in {frame.f_code.co_name}"
    return ""


class TasksPanel(DebugPanel):  # type: ignore[misc]
    """What the request has called: with which arguments, and whether it left."""

    name = "ptemporal_tasks"
    title = nav_title = "Tasks"
    template = "pyramid_temporal_compat.debugtoolbar:panel.dbtmako"

    def __init__(self, request: Any) -> None:
        self._calls = Calls()
        self._is_background = dispatch_of(request) == BACKGROUND
        self.data: dict[str, Any] = {"calls": [], "is_background": self._is_background}

    @property
    def has_content(self) -> bool:
        return bool(self.data["calls"])

    @property
    def nav_subtitle(self) -> str:
        return str(len(self.data["calls"]) or "")

    @property
    def nav_subtitle_style(self) -> str:
        fates = {call["fate"] for call in self.data["calls"]}
        return "progress-bar-danger" if NOT_STARTED in fates else "progress-bar-warning" if DROPPED in fates else ""

    def wrap_handler(self, handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def watched(request: Any) -> Any:
            token = watch.set(self._calls)
            try:
                return handler(request)
            finally:
                watch.reset(token)
                if not self._is_background:
                    self._calls.end(has_outbox(request))
                self.data["calls"] = [vars(call) for call in self._calls.calls]

        return watched


def dispatch_of(request: Any) -> str:
    """Return `ptemporal.dispatch` of the request's application."""
    return str(app_of(request.registry).conf["ptemporal.dispatch"])


def has_outbox(request: Any) -> bool:
    return app_of(request.registry).conf["ptemporal.outbox"] is not None


def includeme(config: Any) -> None:
    """Add the panel to the toolbar."""
    config.add_debugtoolbar_panel(TasksPanel)
