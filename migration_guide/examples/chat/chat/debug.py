"""For developers: start a session by hand, as short as you like, and look at it in the web UI."""

from __future__ import annotations

from pyramid.request import Request
from pyramid.view import view_config

from .service import workflow_id


@view_config(route_name="debug_sessions", request_method="POST", renderer="json")
def start_debug_session(request: Request) -> dict[str, str]:
    session_id = request.chat.start(request.POST.get("user", "debug"), float(request.POST.get("idle_seconds", 60)))
    return {"session": session_id, "web_ui": f"{request.registry.settings['chat.web_ui']}/{workflow_id(session_id)}"}
