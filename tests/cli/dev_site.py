"""A site with one task, for `dev`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyramid.config import Configurator

from pyramid_temporal_compat import shared_task


@shared_task
def version() -> str:
    return (Path(__file__).parent / "version.txt").read_text().strip()


def home(request: Any) -> str:
    return str(version.delay().get(timeout=30))


def main(global_config: Any, **settings: Any) -> Any:
    config = Configurator(settings=settings)
    config.add_route("home", "/")
    config.add_view(home, route_name="home", renderer="string")
    return config.make_wsgi_app()
