"""The board: pages about the tasks of a Pyramid application, in the application itself.

`config.include("pyramid_temporal_compat.board")` mounts them at `/ptemporal`. Nobody sees them before the application
grants the permission `ptemporal.view`, and nobody changes anything without `ptemporal.control`.

`views.py`       the pages
`actions.py`     what the forms do
`guard.py`       permissions, tokens against forged forms, headers
`rendering.py`   templates, which escape every value
`pictures.py`    plots and canvases as SVG
`sources.py`     what a process keeps between two pages
`alone.py`       the board as a program of its own
"""

from __future__ import annotations

from typing import Any

from ..app import APP_KEY
from ..exceptions import ImproperlyConfigured
from .views import add_views

__all__ = ["includeme"]

AFTER_OTHER_ACTIONS = 2000
"""The order of our check. By then the application has included all its packages, so its app is known."""


def includeme(config: Any) -> None:
    """Mount the board: `config.include("pyramid_temporal_compat.board")`. `route_prefix` puts it below a path."""

    def check() -> None:
        if APP_KEY not in config.registry:
            raise ImproperlyConfigured(
                "the board shows an application of pyramid_temporal_compat, and this one does not include it; add "
                "pyramid_temporal_compat to pyramid.includes"
            )

    config.action("pyramid_temporal_compat.board", check, order=AFTER_OTHER_ACTIONS)
    add_views(config)
