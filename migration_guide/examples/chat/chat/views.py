"""The chat of the web page."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pyramid.httpexceptions import HTTPBadRequest, HTTPGone
from pyramid.request import Request
from pyramid.view import exception_view_config, view_config

from pyramid_temporal_compat.exceptions import WorkflowNotFound


@view_config(route_name="sessions", request_method="POST", renderer="json")
def start_session(request: Request) -> dict[str, str]:
    request.response.status = 201
    return {"session": request.chat.start(field(request, "user"))}


@view_config(route_name="messages", request_method="POST", renderer="json")
def send_message(request: Request) -> dict[str, bool]:
    request.chat.say(request.matchdict["id"], field(request, "text"))
    return {"sent": True}


@view_config(route_name="session", renderer="json")
def show_session(request: Request) -> list[dict[str, Any]]:
    return [asdict(line) for line in request.chat.transcript(request.matchdict["id"])]


@exception_view_config(WorkflowNotFound)
def no_such_session(error: WorkflowNotFound, request: Request) -> HTTPGone:
    return HTTPGone("This session has ended, or there never was one. Start another.")


def field(request: Request, name: str) -> str:
    value: str = request.POST.get(name, "")
    if not value:
        raise HTTPBadRequest(f"Send a form with the field {name}.")
    return value
