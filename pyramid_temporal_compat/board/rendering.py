"""Makes the pages from templates. Jinja2 escapes every value, because no template and no filter says otherwise."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..exceptions import ImproperlyConfigured
from ..version import __version__
from .guard import CONTROL, TOKEN, may, token_of
from .sources import sources_of, utc_now

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined
except ImportError:  # an extra brings it
    raise ImproperlyConfigured("the board needs Jinja2: pip install 'pyramid-temporal-compat[board]'") from None

PREFIX = "ptemporal_board."
"""What the names of the board's routes begin with."""
FILTERS = ("name", "state", "queue", "since", "error", "arguments")
"""The filters of the list of tasks: the names of its fields, and of the values in its query."""
PAGES = {"overview": "Overview", "tasks": "Tasks", "schedules": "Schedules", "outbox": "Outbox"}
TONES = {
    "SUCCESS": "good",
    "FAILURE": "bad",
    "RETRY": "warn",
    "STARTED": "busy",
    "PENDING": "idle",
    "REVOKED": "off",
}
"""The colour of each state. The page always shows the state's name, too."""


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """Return a page."""
    controls = may(request, CONTROL)
    text = environment.get_template(template).render(
        **values,
        page=template.partition(".")[0],
        pages=PAGES,
        link=lambda page, /, **query: link(request, page, query),
        asset=lambda name: request.static_path(f"pyramid_temporal_compat.board:static/{name}"),
        controls=controls,
        token_field=TOKEN,
        token=token_of(request) if controls else "",
        application=sources_of(request).app.main or "",
        server=str(sources_of(request).app.temporal),
        now=utc_now(),
        version=__version__,
    )
    return Response(text, status=status, content_type="text/html", charset="utf-8")


def link(request: Request, name: str, query: Mapping[str, Any]) -> str:
    """Return the path of one of the board's pages. Empty values are left out of its query."""
    given = {key: value for key, value in query.items() if value not in (None, "", False)}
    return str(request.route_path(f"{PREFIX}{name}", _query=given))


def moment(value: datetime.datetime | None) -> str:
    """Return a moment in UTC."""
    return "" if value is None else value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def iso(value: datetime.datetime | None) -> str:
    return "" if value is None else value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def distance(value: datetime.datetime, now: datetime.datetime) -> str:
    """Return how far a moment is from now: `5 s ago`, `in 2 h`."""
    seconds = (value - now).total_seconds()
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def duration(seconds: float | None) -> str:
    """Return a time in its largest unit that is not below one."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def tone(state: str) -> str:
    return TONES.get(state, "idle")


environment = Environment(
    loader=PackageLoader("pyramid_temporal_compat.board"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.filters.update(moment=moment, iso=iso, distance=distance, duration=duration, counted=counted, tone=tone)
