"""The board as a program of its own, on this machine: `ptemporal-compat board app.ini`."""

from __future__ import annotations

import hmac
import secrets
import socketserver
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import Allowed, Denied

from ..app import APP_KEY
from ..interfaces import AppLike
from .guard import CONTROL, VIEW, refuse_unreadable
from .rendering import link

CLOSED = (
    "Open the board by the address that the command has printed. The address opens the board once, in one "
    "browser. For another browser, start the command again."
)


class Door:
    """Lets in the browser that brings the one-time token, and recognises it by a cookie from then on.

    Other users of the machine can reach the port, and pages of other sites can send forms to it. They do not have the
    cookie.
    """

    def __init__(self, cookie: str, *, may_control: bool) -> None:
        self.token: str | None = secrets.token_urlsafe(32)
        self.cookie = cookie
        self._pass = secrets.token_urlsafe(32)
        self._granted = (VIEW, CONTROL) if may_control else (VIEW,)

    def open(self, request: Request) -> Response:
        """Give the browser the cookie if it brings the token, which nobody can use again."""
        refuse_unreadable(request)
        brought = request.GET.get("token", "")
        if self.token is None or not is_same(brought, self.token):
            raise HTTPForbidden(CLOSED)
        self.token = None
        answer = HTTPSeeOther(location=link(request, "overview", {}))
        answer.set_cookie(self.cookie, self._pass, httponly=True, samesite="Strict", path="/")
        return answer

    # --- Pyramid's security policy -------------------------------------------------------------------

    def identity(self, request: Request) -> str | None:
        return "the board" if is_same(request.cookies.get(self.cookie, ""), self._pass) else None

    authenticated_userid = identity

    def permits(self, request: Request, context: Any, permission: str) -> Allowed | Denied:
        if self.identity(request) is not None and permission in self._granted:
            return Allowed("the cookie of this board")
        return Denied(CLOSED)

    def remember(self, request: Request, userid: str, **options: Any) -> list[Any]:
        return []

    def forget(self, request: Request, **options: Any) -> list[Any]:
        return []


def is_same(brought: str, secret: str) -> bool:
    return hmac.compare_digest(brought.encode(errors="replace"), secret.encode())


def wsgi_application(app: AppLike, door: Door) -> Any:
    """Return a WSGI application that has the board of `app` and nothing else."""
    with Configurator(settings={}) as config:
        config.registry[APP_KEY] = app
        config.set_security_policy(door)
        config.include("pyramid_temporal_compat.board")
        config.add_route("enter", "/")
        config.add_view(lambda context, request: door.open(request), route_name="enter", request_method="GET")
        return config.make_wsgi_app()


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own."""

    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    """Logs no request: an address may hold arguments that a person searches for."""

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def serving(app: AppLike, host: str, port: int, *, may_control: bool = True) -> tuple[Server, str]:
    """Return a server that listens, and the address that opens the board once."""
    server = Server((host, port), QuietHandler)
    door = Door(f"ptemporal_board_{server.server_port}", may_control=may_control)
    server.set_app(wsgi_application(app, door))
    shown = f"[{host}]" if ":" in host else host
    return server, f"http://{shown}:{server.server_port}/?token={door.token}"
