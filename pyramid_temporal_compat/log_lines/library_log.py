"""Keeps Temporal's client library from logging a second time what this package has logged in its own words."""

from __future__ import annotations

import logging


class HideErrors(logging.Filter):
    """Drops log records about exceptions of one class."""

    def __init__(self, kind: type[BaseException]) -> None:
        super().__init__()
        self._kind = kind

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], self._kind))


class HideLines(logging.Filter):
    """Drops log records whose text begins with the given words."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self._beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self._beginning)


def hide_errors(logger: str, kind: type[BaseException]) -> None:
    """Drop what the library's logger `logger` says about exceptions of class `kind`."""
    logging.getLogger(logger).addFilter(HideErrors(kind))


def hide_lines(logger: str, beginning: str) -> None:
    """Drop the lines of the library's logger `logger` that begin with `beginning`."""
    logging.getLogger(logger).addFilter(HideLines(beginning))
