"""A gallery: people add items with an image, the gallery suggests a title and tags for each."""

from pyramid.config import Configurator


def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include(".models")
        config.include(".celery")
        config.add_route("page", "/")
        config.add_route("items", "/items")
        config.add_route("item", "/items/{id:\\d+}")
        config.add_route("image", "/items/{id:\\d+}/image")
        config.add_route("accept", "/items/{id:\\d+}/accept")
        config.add_route("task", "/tasks/{id}")
        config.scan(".views")
        return config.make_wsgi_app()
