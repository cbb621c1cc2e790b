"""An application that does not start."""

from __future__ import annotations

from typing import Any


def main(global_config: Any, **settings: Any) -> Any:
    raise RuntimeError("no oven,\nno cakes")


def main_with_a_typo(global_config: Any, **settings: Any) -> Any:
    return settings.ovens  # type: ignore[attr-defined]


def plain(global_config: Any, **settings: Any) -> Any:
    """A WSGI application that is not Pyramid's."""
    return lambda environ, start_response: []
