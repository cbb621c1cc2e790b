"""Keeps Temporal's client library from logging a second time what this package has logged in its own words."""

from __future__ import annotations

import logging

from .throttled_log import ThrottledLog


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


class ShortenLines(logging.Filter):
    """Drops log records whose text begins with the given words. One line a minute of another log counts them."""

    def __init__(self, beginning: str, log: ThrottledLog, text: str) -> None:
        super().__init__()
        self._beginning = beginning
        self._log = log
        self._text = text

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith(self._beginning):
            return True
        self._log.say(self._text)
        return False


def hide_errors(logger: str, kind: type[BaseException]) -> None:
    """Drop what the library's logger `logger` says about exceptions of class `kind`."""
    logging.getLogger(logger).addFilter(HideErrors(kind))


def hide_lines(logger: str, beginning: str) -> None:
    """Drop the lines of the library's logger `logger` that begin with `beginning`."""
    logging.getLogger(logger).addFilter(HideLines(beginning))


def shorten_lines(logger: str, beginning: str, log: ThrottledLog, text: str) -> None:
    """Say `text` at most once a minute in place of the library's lines that begin with `beginning`.

    `text` has a `%d` for the number of these lines.
    """
    logging.getLogger(logger).addFilter(ShortenLines(beginning, log, text))
