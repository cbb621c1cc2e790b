"""A Pyramid application that mounts the board, with users who may see it, change things, or neither."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.security import Allowed, Denied
from webtest import TestApp

from pyramid_temporal_compat.app import Celery
from pyramid_temporal_compat.current import set_current_app

GRANTED = {"chief": ("ptemporal.view", "ptemporal.control"), "clerk": ("ptemporal.view",)}


class HeaderPolicy:
    """The header X-User names the user."""

    def identity(self, request: Request) -> str | None:
        return request.headers.get("X-User")

    authenticated_userid = identity

    def permits(self, request: Request, context: Any, permission: str) -> Allowed | Denied:
        granted = permission in GRANTED.get(str(self.identity(request)), ())
        return Allowed("granted") if granted else Denied("not granted")

    def remember(self, request: Request, userid: str, **options: Any) -> list[Any]:
        return []

    def forget(self, request: Request, **options: Any) -> list[Any]:
        return []


def site(app: Celery, *, policy: Any = None, prefix: str | None = None) -> Any:
    """Return the WSGI application."""
    set_current_app(None)  # else the application adopts an app of another test
    with Configurator(settings={}) as config:
        config.include("pyramid_temporal_compat")
        config.set_celery_app(app)
        if policy is not None:
            config.set_security_policy(policy)
        config.include("pyramid_temporal_compat.board", route_prefix=prefix)
        return config.make_wsgi_app()


def browser(wsgi_application: Any, user: str = "") -> TestApp:
    """Return a browser that is logged in as the user."""
    return TestApp(wsgi_application, extra_environ={"HTTP_X_USER": user} if user else {})
