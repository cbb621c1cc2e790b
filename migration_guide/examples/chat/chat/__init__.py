"""A support chat. Each session is a workflow."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.router import Router
from pyramid.settings import asbool


def main(global_config: dict[str, Any], **settings: Any) -> Router:
    with Configurator(settings=settings) as config:
        config.include(".models")
        config.include(".service")
        config.scan(".activities")
        config.scan(".workflows")
        config.add_route("sessions", "/sessions")
        config.add_route("session", "/sessions/{id}")
        config.add_route("messages", "/sessions/{id}/messages")
        config.scan(".views")
        if asbool(settings.get("chat.debug")):
            config.add_route("debug_sessions", "/debug/sessions")
            config.scan(".debug")
        return config.make_wsgi_app()
