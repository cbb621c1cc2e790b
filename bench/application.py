"""A Pyramid application with one task that does nothing."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator

from pyramid_temporal_compat import shared_task


@shared_task
def noop(number: int) -> int:
    return number


def main(global_config: Any, **settings: str) -> Any:
    config = Configurator(settings=settings)
    return config.make_wsgi_app()
