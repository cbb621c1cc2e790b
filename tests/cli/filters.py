"""A WSGI filter that hides the application behind a plain function."""

from __future__ import annotations

from typing import Any


def passes(global_config: Any, **settings: Any) -> Any:
    def make(app: Any) -> Any:
        return lambda environ, start_response: app(environ, start_response)

    return make
