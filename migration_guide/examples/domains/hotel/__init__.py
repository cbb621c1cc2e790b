"""A hotel: guests book rooms and pay for them. `bookings` and `payments` are its domains."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.router import Router


def main(global_config: dict[str, Any], **settings: Any) -> Router:
    with Configurator(settings=settings) as config:
        config.include(".models")
        config.add_route("bookings", "/bookings")
        config.add_route("booking", "/bookings/{id:\\d+}")
        config.scan(".views")
        return config.make_wsgi_app()
