"""Celery's `celery.contrib.testing.mocks`, for what is not about its wire format."""

from __future__ import annotations

from typing import Any
from unittest import mock


def ContextMock(*args: Any, **kwargs: Any) -> mock.MagicMock:
    """A mock that is also a context manager, and gives itself."""
    made = mock.MagicMock(*args, **kwargs)
    made.__enter__.return_value = made
    made.__exit__.return_value = None
    return made
