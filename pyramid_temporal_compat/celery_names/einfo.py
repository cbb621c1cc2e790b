"""An exception with its traceback as text. Hooks and signals get it as `einfo`."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from ..payload.errors import formatted


class ExceptionInfo:
    """An exception and its traceback, with the attributes of Celery's class of this name."""

    def __init__(self, exc_info: BaseException | tuple[Any, Any, Any] | None = None, internal: bool = False) -> None:
        error = exc_info if isinstance(exc_info, BaseException) else (exc_info or sys.exc_info())[1]
        if error is None:
            raise ValueError("ExceptionInfo() was called while no exception is being handled; pass the exception")
        self.exception: BaseException = error
        self.type: type[BaseException] = type(error)
        self.tb: TracebackType | None = error.__traceback__
        self.traceback = formatted(error)
        self.internal = internal

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        """Return the same triple as `sys.exc_info()`."""
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"
