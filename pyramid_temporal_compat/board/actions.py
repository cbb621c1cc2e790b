"""What the forms of the board do. Each ends with a redirect to the page that it came from."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from pyramid.httpexceptions import HTTPBadRequest, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response
from temporalio.client import Client, ScheduleHandle

from ..control import paused_types
from ..message.message import is_name
from ..observe.retries import Retried, retry_each
from ..schedules.entries import application_name
from ..schedules.sync import handle_of
from .guard import View
from .rendering import FILTERS, link
from .sources import FAILURES, Sources, sources_of

log = logging.getLogger(__name__)

Deed = Callable[[Sources, Request], tuple[str, dict[str, Any]]]
"""Does what a form asks for. Returns the page to show next, and the values of that page's query."""

SAID = {
    "retried": "Tasks that run anew: {count} of {of}.",
    "not_retried": "No task runs anew: each was run anew before, has not ended, or never began.",
    "revoked": "Tasks revoked: {count}. A running task runs to its end.",
    "terminated": "Tasks terminated: {count}.",
    "paused": "The tasks of this name are paused. Running tasks run to their end.",
    "resumed": "The tasks of this name start again.",
    "schedule_paused": "The schedule is paused.",
    "schedule_resumed": "The schedule is resumed.",
    "triggered": "The schedule's task starts now.",
    "outbox_retried": "Rows that will be tried again: {count}.",
    "failed": "That was not done: the server or the database does not answer, or refuses. The log of the web process "
    "has the error.",
}
"""What pages say after a form. Only numbers in it come from the browser."""
LONGEST_NUMBER = 9
MOST_AT_ONCE = 500
"""Tasks of one form."""


def said(request: Request) -> str:
    """Return what the page says about the form that led to it; "" if none did."""
    text = SAID.get(request.GET.get("done", ""), "")
    return text.format(count=number(request, "count"), of=number(request, "of"))


def number(request: Request, name: str) -> str:
    value = request.GET.get(name, "")
    return value if re.fullmatch(f"[0-9]{{1,{LONGEST_NUMBER}}}", value) else "some"


def view_of(deed: Deed) -> View:
    """Return the view of a form."""

    def view(context: Any, request: Request) -> Response:
        try:
            page, query = deed(sources_of(request), request)
        except FAILURES:
            log.exception("board: %s failed", deed.__name__)
            page, query = "overview", {"done": "failed"}
        return HTTPSeeOther(location=link(request, page, query))

    return view


# --- tasks -------------------------------------------------------------------------------------------


def retry(sources: Sources, request: Request) -> tuple[str, dict[str, Any]]:
    """Run tasks anew."""
    ids = chosen_ids(request)

    async def work(client: Client) -> list[Retried]:
        return [outcome async for outcome in retry_each(client, ids)]

    outcomes = sources.ask(work)
    started = [outcome for outcome in outcomes if not outcome.why_not]
    done = {"done": "retried" if started else "not_retried", "count": len(started), "of": len(outcomes)}
    if len(ids) == 1 and outcomes[0].new_id is not None:
        return "task", {"id": outcomes[0].new_id, **done}
    return came_from(request, ids, done)


def revoke(sources: Sources, request: Request) -> tuple[str, dict[str, Any]]:
    """Keep tasks from starting."""
    return _revoke(sources, request, "revoked")


def terminate(sources: Sources, request: Request) -> tuple[str, dict[str, Any]]:
    """Stop tasks, also running ones."""
    return _revoke(sources, request, "terminated")


def _revoke(sources: Sources, request: Request, done: str) -> tuple[str, dict[str, Any]]:
    ids = chosen_ids(request)
    sources.app.control.revoke(ids, terminate=done == "terminated")
    return came_from(request, ids, {"done": done, "count": len(ids)})


def chosen_ids(request: Request) -> list[str]:
    """Return the ids of the form's tasks."""
    ids = list(dict.fromkeys(map(str, request.POST.getall("id"))))
    if not ids or len(ids) > MOST_AT_ONCE or not all(map(is_name, ids)):
        raise HTTPBadRequest(f"Choose between 1 and {MOST_AT_ONCE} tasks.")
    return ids


def came_from(request: Request, ids: Sequence[str], done: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the page of the form: the task's own, or the list with its filters."""
    if request.POST.get("from") == "task":
        return "task", {"id": ids[0], **done}
    known = (*FILTERS, "members", "size", "page")
    filters = dict(parse_qsl(str(request.POST.get("back", ""))))
    return "tasks", {**{name: filters[name] for name in known if name in filters}, **done}


# --- types -------------------------------------------------------------------------------------------


def pause_type(sources: Sources, request: Request) -> tuple[str, dict[str, Any]]:
    """Keep the tasks of one name from starting."""
    user = request.authenticated_userid or "the board"
    paused_types.pause(sources.app, checked_name(request), f"by {user}"[:200])
    return after_type(request, "paused")


def resume_type(sources: Sources, request: Request) -> tuple[str, dict[str, Any]]:
    """Let the tasks of one name start again."""
    paused_types.resume(sources.app, checked_name(request))
    return after_type(request, "resumed")


def checked_name(request: Request) -> str:
    name = str(request.POST.get("name", ""))
    if not is_name(name):
        raise HTTPBadRequest("The form names no task.")
    return name


def after_type(request: Request, done: str) -> tuple[str, dict[str, Any]]:
    task_id = str(request.POST.get("id", ""))
    return ("task", {"id": task_id, "done": done}) if task_id else ("overview", {"done": done})


# --- schedules ---------------------------------------------------------------------------------------


def pause_schedule(sources: Sources, request: Request) -> tuple[str, dict[str, Any]]:
    return _with_schedule(sources, request, lambda handle: handle.pause(note="paused on the board"), "schedule_paused")


def resume_schedule(sources: Sources, request: Request) -> tuple[str, dict[str, Any]]:
    return _with_schedule(
        sources, request, lambda handle: handle.unpause(note="resumed on the board"), "schedule_resumed"
    )


def trigger_schedule(sources: Sources, request: Request) -> tuple[str, dict[str, Any]]:
    return _with_schedule(sources, request, lambda handle: handle.trigger(), "triggered")


def _with_schedule(
    sources: Sources, request: Request, deed: Callable[[ScheduleHandle], Any], done: str
) -> tuple[str, dict[str, Any]]:
    """Do something with one of the application's own schedules."""
    name = checked_name(request)

    async def work(client: Client) -> bool:
        handle = await handle_of(client, application_name(sources.app), name)
        if handle is None:
            return False
        await deed(handle)
        return True

    if not sources.ask(work):
        raise HTTPBadRequest("The application has no such schedule.")
    return "schedules", {"done": done}


# --- the outbox --------------------------------------------------------------------------------------


def retry_outbox(sources: Sources, request: Request) -> tuple[str, dict[str, Any]]:
    """Have relays try parked rows again: one, or all of them."""
    store, row = sources.outbox(), str(request.POST.get("row", ""))
    if store is None or (row and not re.fullmatch(r"[0-9]{1,18}", row)):
        raise HTTPBadRequest("The form names no row of an outbox.")
    return "outbox", {"done": "outbox_retried", "count": store.retry([int(row)] if row else None)}


ACTIONS: dict[str, Deed] = {
    "retry": retry,
    "revoke": revoke,
    "terminate": terminate,
    "pause-type": pause_type,
    "resume-type": resume_type,
    "pause-schedule": pause_schedule,
    "resume-schedule": resume_schedule,
    "trigger-schedule": trigger_schedule,
    "retry-outbox": retry_outbox,
}
"""The forms, by the last part of their path."""
