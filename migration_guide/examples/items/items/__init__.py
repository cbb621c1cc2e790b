"""A gallery: an item has images, and the gallery suggests a title for each of them."""

import os
from typing import Any

from pyramid.config import Configurator
from pyramid.router import Router


def main(global_config: dict[str, str], **settings: Any) -> Router:
    if "DATABASE_URL" in os.environ:
        settings["sqlalchemy.url"] = os.environ["DATABASE_URL"]
    with Configurator(settings=settings) as config:
        config.include(".models")
        config.include(".service")
        config.add_route("items", "/items")
        config.add_route("item", "/items/{id:\\d+}")
        config.add_route("processing", "/items/{id:\\d+}/processing")
        config.add_route("batches", "/batches")
        config.scan()
        return config.make_wsgi_app()
