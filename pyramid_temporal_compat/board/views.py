"""The pages of the board."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, TypeVar

from pyramid.httpexceptions import HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response

from .. import states
from ..control.paused_types import is_paused, paused_types
from ..exceptions import InvalidCall
from ..observe.failures import failures_since
from ..observe.queues import queues_of, report_queues
from ..observe.schedules import report_schedules
from ..observe.task_details import TaskDetails, read_task
from ..observe.task_filter import TaskFilter
from ..observe.workers import report_workers
from ..settings.values import TRACE_ID
from . import actions
from .guard import CONTROL, VIEW, View, guarded
from .pictures import picture_of, plot
from .rendering import FILTERS, PREFIX, link, render
from .sources import FAILURES, Sources, sources_of, utc_now

T = TypeVar("T")

FAILED_WITHIN = datetime.timedelta(hours=1)
PERIODS = {"15m": 900, "1h": 3600, "6h": 6 * 3600, "1d": 86400, "7d": 7 * 86400}
"""The values of the filter of time, and their seconds."""
STATES = (states.PENDING, states.STARTED, states.RETRY, states.SUCCESS, states.FAILURE, states.REVOKED)
SIZES = (25, 50, 100)
LONGEST_INPUT = 1000
"""Characters of one value that a browser may send."""


def add_views(config: Any) -> None:
    """Add the board's routes, pages, forms and files."""
    pages: dict[str, tuple[str, View]] = {
        "overview": ("/ptemporal/", overview),
        "tasks": ("/ptemporal/tasks", tasks),
        "task": ("/ptemporal/task", task),
        "schedules": ("/ptemporal/schedules", schedules),
        "outbox": ("/ptemporal/outbox", outbox),
    }
    config.add_static_view("ptemporal/static", "pyramid_temporal_compat.board:static", cache_max_age=3600)
    for name, (path, view) in pages.items():
        add(config, name, path, view, VIEW, "GET")
    for name, deed in actions.ACTIONS.items():
        add(config, f"do.{name}", f"/ptemporal/do/{name}", actions.view_of(deed), CONTROL, "POST")


def add(config: Any, name: str, path: str, view: View, permission: str, method: str) -> None:
    """Add a route with one view, which only people with the permission reach.

    The guard checks the token of a form, because the application may name the token otherwise, or have no sessions.
    """
    config.add_route(f"{PREFIX}{name}", path)
    config.add_view(
        guarded(permission, view),
        route_name=f"{PREFIX}{name}",
        request_method=method,
        permission=permission,
        require_csrf=False,
    )


class Section:
    """One part of a page: its value, or why there is none. One absent server leaves the rest of the page readable."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error = ""
        try:
            self.value = read()
        except FAILURES as error:
            self.error = " ".join(str(error).split())[:LONGEST_INPUT]


def overview(context: Any, request: Request) -> Response:
    """Show queues, workers, failures, outbox and late schedules."""
    sources = sources_of(request)
    return render(
        request,
        "overview.html",
        queues=Section(lambda: queue_rows(sources)),
        workers=Section(lambda: report_workers(sources.app)),
        failures=Section(
            lambda: sources.ask(lambda client: failures_since(client, sources.lister, utc_now() - FAILED_WITHIN))
        ),
        paused=Section(lambda: sources.ask(paused_types)),
        outbox=Section(lambda: outbox_summary(sources)),
        schedules=Section(lambda: [each for each in schedule_reports(sources) if each.late]),
        done=actions.said(request),
    )


def queue_rows(sources: Sources) -> list[tuple[Any, Any]]:
    """Return each queue's report, and the plot of its backlog."""
    reports = sources.ask(lambda client: report_queues(client, queues_of(sources.app)))
    sources.samples.add(reports)
    return [(report, plot(sources.samples.of(report.name))) for report in reports]


def outbox_summary(sources: Sources) -> Any:
    store = sources.outbox()
    return None if store is None else store.summary()


def schedule_reports(sources: Sources) -> list[Any]:
    return sources.ask(lambda client: report_schedules(client, sources.app))


def tasks(context: Any, request: Request) -> Response:
    """Show a page of the tasks that the filters select."""
    sources = sources_of(request)
    given = {name: value_of(request, name) for name in FILTERS}
    given["members"] = "1" if value_of(request, "members") else ""
    size = int(value_of(request, "size")) if value_of(request, "size") in map(str, SIZES) else SIZES[1]
    cursor = value_of(request, "page")

    def read() -> Any:
        asked = TaskFilter(
            name=given["name"],
            states=frozenset({given["state"]} - {""}),
            queue=given["queue"],
            since=since(given["since"]),
            error=given["error"],
            arguments=given["arguments"],
            members=bool(given["members"]),
        )
        return sources.ask(lambda client: sources.lister.page(client, asked, cursor, size))

    kept = {**given, "size": str(size) if size != SIZES[1] else ""}
    return render(
        request,
        "tasks.html",
        found=Section(read),
        given=given,
        size=size,
        sizes=SIZES,
        states=STATES,
        periods=PERIODS,
        first=not cursor,
        more=lambda following: link(request, "tasks", {**kept, "page": following}),
        again=link(request, "tasks", kept),
        back=request.query_string[:LONGEST_INPUT],
        done=actions.said(request),
    )


def since(period: str) -> datetime.datetime | None:
    """Return the moment that the filter of time names."""
    if not period:
        return None
    if period not in PERIODS:
        raise InvalidCall(f"{period!r:.80} is no period of the filter; there are {', '.join(PERIODS)}")
    return utc_now() - datetime.timedelta(seconds=PERIODS[period])


def task(context: Any, request: Request) -> Response:
    """Show one task."""
    sources, task_id = sources_of(request), value_of(request, "id")
    found = Section(lambda: sources.ask(lambda client: read_task(client, sources.app, task_id)) if task_id else None)
    if found.value is None and not found.error:
        return render(request, "missing.html", status=HTTPNotFound.code, task_id=task_id, done="")
    name = found.value.name if found.value else ""
    paused = Section(lambda: bool(name) and sources.ask(lambda client: is_paused(client, name)))
    return render(
        request,
        "task.html",
        found=found,
        task_id=task_id,
        picture=picture_of(found.value.canvas, task_id) if found.value else None,
        trace_url=trace_url(sources, found.value),
        type_is_paused=bool(paused.value),
        done=actions.said(request),
    )


def trace_url(sources: Sources, found: TaskDetails | None) -> str:
    """Return where the task's trace can be looked at; "" if that is not known."""
    template = sources.app.conf["ptemporal.trace_url"]
    return (
        ""
        if found is None or found.trace_id is None or template is None
        else str(template).replace(TRACE_ID, found.trace_id)
    )


def schedules(context: Any, request: Request) -> Response:
    """Show the schedules."""
    sources = sources_of(request)
    return render(
        request, "schedules.html", found=Section(lambda: schedule_reports(sources)), done=actions.said(request)
    )


def outbox(context: Any, request: Request) -> Response:
    """Show the outbox."""
    sources = sources_of(request)
    return render(request, "outbox.html", found=Section(lambda: outbox_summary(sources)), done=actions.said(request))


def value_of(request: Request, name: str) -> str:
    """Return a value of the query, shortened; "" if it is absent."""
    return str(request.GET.get(name, ""))[:LONGEST_INPUT]
