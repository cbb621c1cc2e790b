"""What a command of another package gets as `ctx.obj`."""

from __future__ import annotations

import functools
from typing import Any

from .bootstrap import application
from .common import Common
from .errors import failing_in_one_line
from .terminal import Terminal


class PluginContext(Terminal):
    """What a command gets as `ctx.obj`, by Celery's names."""

    def __init__(self, common: Common) -> None:
        super().__init__(common.no_color, common.quiet)
        self._common = common

    @functools.cached_property
    def app(self) -> Any:
        """Return the app. It is loaded at the first use, because a command need not have an application."""
        with failing_in_one_line():
            return application(self._common)
