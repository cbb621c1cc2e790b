"""Logging as in Celery: loggers for tasks, coloured log lines, and printed text in the log."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from . import signals
from .celery_names.nodenames import node_format
from .context import worker_frame
from .exceptions import CDeprecationWarning, CPendingDeprecationWarning, ImproperlyConfigured
from .file_safety import open_for_append
from .json_log import JsonFormatter
from .log_lines.text_safety import record_text

if TYPE_CHECKING:
    from .interfaces import AppLike

_LEVELS: dict[str | int, Any] = {
    name: getattr(logging, name) for name in ("NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
}
LOG_LEVELS: dict[str | int, Any] = {
    **_LEVELS,
    **{level: name for name, level in _LEVELS.items()},
    "WARN": logging.WARNING,
    "FATAL": logging.FATAL,
}

UNKNOWN = "???"
"""The task name and id in a log line that no task wrote."""

_COLOURS = {"DEBUG": 34, "WARNING": 33, "ERROR": 31, "CRITICAL": 35}
_in_sighandler = False


# --- loggers ---------------------------------------------------------------------------------------


def plain_logger(name: str | logging.Logger) -> logging.Logger:
    """Return the logger of this name. It is silent until logging is set up."""
    logger = logging.getLogger(name) if isinstance(name, str) else name
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger


def _put_below(parent: logging.Logger, logger: logging.Logger) -> logging.Logger:
    above: logging.Logger | None = logger
    while above is not None:
        if above is parent:
            return logger
        above = above.parent
    logger.parent = parent
    return logger


base_logger = plain_logger("celery")


def get_logger(name: str | logging.Logger) -> logging.Logger:
    """Return the logger of this name. Make it a child of the logger `celery`, unless its parent is the root."""
    logger = plain_logger(name)
    if logging.root not in (logger, logger.parent) and logger is not base_logger:
        _put_below(base_logger, logger)
    return logger


class TaskFilter(logging.Filter):
    """Adds `task_id` and `task_name` of the running task to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        frame = worker_frame()
        if frame is not None:
            record.task_name, record.task_id = frame[0].name, frame[1].id
        else:
            record.__dict__.setdefault("task_name", UNKNOWN)
            record.__dict__.setdefault("task_id", UNKNOWN)
        return True


_task_filter = TaskFilter()
task_logger = get_logger("celery.task")
worker_logger = get_logger("celery.worker")
task_logger.addFilter(_task_filter)


def get_task_logger(name: str) -> logging.Logger:
    """Return the logger of a module with tasks: a child of `celery.task`, whose records have the task's name and id."""
    if name in (base_logger.name, task_logger.name):
        raise RuntimeError(f"the logger name {name!r} is reserved for Celery; use get_task_logger(__name__)")
    logger = _put_below(task_logger, get_logger(name))
    logger.addFilter(_task_filter)  # a logger's filter does not see the records of its child loggers
    return logger


def mlevel(level: Any) -> Any:
    """Return the number of a level that is given by its name or number."""
    return LOG_LEVELS[level.upper()] if isinstance(level, str) and level else level


def get_multiprocessing_logger() -> logging.Logger:
    """Return the logger of `multiprocessing`."""
    import multiprocessing.util  # 2 ms, for the few that ask

    return multiprocessing.util.get_logger()


def reset_multiprocessing_logger() -> None:
    """Make the next `get_multiprocessing_logger()` return a new logger."""
    import multiprocessing.util  # as above

    multiprocessing.util._logger = None  # type: ignore[attr-defined]


# --- formatters ------------------------------------------------------------------------------------


class ColorFormatter(logging.Formatter):
    """Shows warnings and errors in colour, and never raises because of a logged value.

    A logged text can't fake another record: its lines after the first are indented, and characters that would move a
    terminal's cursor are escaped as in `repr`.
    """

    def __init__(self, fmt: str | None = None, use_color: bool | None = True, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color

    def format(self, record: logging.LogRecord) -> str:
        try:
            text = record_text(super().format(record))
        except Exception as error:
            text = f"<Unrepresentable {type(record.msg)!r}: {error!r}>"
        colour = _COLOURS.get(record.levelname) if self.use_color else None
        return f"\x1b[1;{colour}m{text}\x1b[0m" if colour else text


class TaskFormatter(ColorFormatter):
    """A formatter whose format may name `%(task_id)s` and `%(task_name)s`."""

    def format(self, record: logging.LogRecord) -> str:
        _task_filter.filter(record)
        return super().format(record)


# --- printed text ----------------------------------------------------------------------------------


def set_in_sighandler(value: bool) -> None:
    """Set whether a signal handler runs. Printing in a signal handler must not wait for a logging lock."""
    global _in_sighandler
    _in_sighandler = value


@contextlib.contextmanager
def in_sighandler() -> Iterator[None]:
    """While this lasts, a signal handler runs, so printed text goes to stderr at once."""
    set_in_sighandler(True)
    try:
        yield
    finally:
        set_in_sighandler(False)


class LoggingProxy:
    """A file that logs the lines written to it."""

    mode = "w"
    name = None
    closed = False
    loglevel: Any = logging.ERROR
    _thread = threading.local()

    def __init__(self, logger: logging.Logger, loglevel: Any = None) -> None:
        self.logger = logger
        self.loglevel = mlevel(loglevel or logger.level or self.loglevel)
        for handler in logger.handlers:
            handler.handleError = _print_error  # type: ignore[method-assign]

    def write(self, data: Any) -> int:
        """Log `data` without its line end. Return how many characters were logged."""
        text = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
        if _in_sighandler:
            print(text, file=sys.__stderr__)
            return len(text)
        if getattr(self._thread, "writing", False):  # the logger's handler writes to this file itself
            return 0
        text = text.rstrip("\n")
        if not text or self.closed:
            return 0
        self._thread.writing = True
        try:
            self.logger.log(self.loglevel, text)
        finally:
            self._thread.writing = False
        return len(text)

    def writelines(self, sequence: Iterable[Any]) -> None:
        """Log each part."""
        for part in sequence:
            self.write(part)

    def flush(self) -> None:
        """Do nothing, because each write is logged at once."""

    def close(self) -> None:
        """Ignore everything that is written from now on."""
        self.closed = True

    def isatty(self) -> bool:
        """Return False: the log is not a terminal."""
        return False


def _print_error(record: logging.LogRecord) -> None:
    # Not to sys.stderr, which may be a LoggingProxy: the error would be logged again and again.
    with contextlib.suppress(OSError):
        traceback.print_exc(None, sys.__stderr__)


# --- setting up ------------------------------------------------------------------------------------


class Logging:
    """`app.log`: sets up the logging of a worker, from the settings and the logging signals."""

    already_setup = False
    """Whether any app of this process has set up logging, which is done once."""

    def __init__(self, app: AppLike) -> None:
        self.app = app
        self.loglevel = logging.WARNING
        self.format = app.conf.worker_log_format
        self.datefmt = app.conf.worker_log_datefmt
        self.task_format = app.conf.worker_task_log_format
        self.task_datefmt = app.conf.worker_task_log_datefmt
        self.colorize = app.conf.worker_log_color

    def setup(
        self,
        loglevel: Any = None,
        logfile: Any = None,
        redirect_stdouts: bool = False,
        redirect_level: Any = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> Any:
        """Set up all logging of a worker: loggers, warnings and, with `redirect_stdouts`, printed text."""
        loglevel = mlevel(loglevel)
        handled = self.setup_logging_subsystem(loglevel, logfile, colorize=colorize, hostname=hostname)
        if not handled and redirect_stdouts:
            self.redirect_stdouts(redirect_level)
        for category in (CDeprecationWarning, CPendingDeprecationWarning):
            warnings.filterwarnings("always", category=category)
        logging.captureWarnings(True)
        return handled

    def setup_logging_subsystem(
        self,
        loglevel: Any = None,
        logfile: Any = None,
        format: str | None = None,
        colorize: bool | None = None,
        hostname: str | None = None,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Set up the root logger and the task logger, unless a receiver of the signal `setup_logging` does it.

        Return the answers of the receivers; None if logging was set up before.
        """
        if self.already_setup:
            self._use_json()
            return None
        if logfile and hostname:
            logfile = node_format(logfile, hostname)
        loglevel = mlevel(loglevel or self.loglevel)
        format = format or self.format
        colorize = self.supports_color(colorize, logfile)
        about = {"loglevel": loglevel, "logfile": logfile, "format": format, "colorize": colorize}
        receivers = signals.setup_logging.send(sender=None, **about)
        for _, response in receivers:
            if isinstance(response, Exception):
                raise response
        Logging.already_setup = True
        if not receivers:
            root = logging.getLogger()
            if self.app.conf.worker_hijack_root_logger:
                for logger in (root, base_logger, task_logger, logging.getLogger("celery.redirected")):
                    logger.handlers = []
            datefmt = self.datefmt if datefmt is None else datefmt
            self.setup_handlers(root, logfile, format, colorize, datefmt=datefmt, **kwargs)
            root.setLevel(loglevel)
            signals.after_setup_logger.send(sender=None, logger=root, **about)
            self.setup_task_loggers(loglevel, logfile, colorize=colorize)
        return receivers

    def _use_json(self) -> None:
        """Write JSON if the settings ask for it, where an ini or another app has set up the root logger."""
        if self.app.conf["ptemporal.log_format"] == "json":
            for handler in logging.getLogger().handlers:
                handler.setFormatter(JsonFormatter())

    def setup_task_loggers(
        self,
        loglevel: Any = None,
        logfile: Any = None,
        format: str | None = None,
        colorize: bool | None = None,
        propagate: bool = False,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> logging.Logger:
        """Set up the parent of all task loggers. Its log lines name the task."""
        loglevel = mlevel(loglevel or self.loglevel)
        format = format or self.task_format
        colorize = self.supports_color(colorize, logfile)
        datefmt = self.task_datefmt if datefmt is None else datefmt
        logger = self.setup_handlers(
            task_logger, logfile, format, colorize, formatter=TaskFormatter, datefmt=datefmt, **kwargs
        )
        logger.setLevel(loglevel)
        logger.propagate = bool(propagate)
        signals.after_setup_task_logger.send(
            sender=None, logger=logger, loglevel=loglevel, logfile=logfile, format=format, colorize=colorize
        )
        return logger

    def setup_handlers(
        self,
        logger: logging.Logger,
        logfile: Any,
        format: str | None,
        colorize: bool | None,
        formatter: type[ColorFormatter] = ColorFormatter,
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> logging.Logger:
        """Make the logger write to a file or to stderr, unless it has a handler already."""
        if all(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            handler = _handler(logfile)
            as_json = self.app.conf["ptemporal.log_format"] == "json"
            handler.setFormatter(JsonFormatter() if as_json else formatter(format, use_color=colorize, datefmt=datefmt))
            logger.addHandler(handler)
        return logger

    def redirect_stdouts(self, loglevel: Any = None, name: str = "celery.redirected") -> None:
        """Log the text that is printed, with the logger of this name."""
        self.redirect_stdouts_to_logger(get_logger(name), loglevel=loglevel)

    def redirect_stdouts_to_logger(
        self, logger: logging.Logger, loglevel: Any = None, stdout: bool = True, stderr: bool = True
    ) -> LoggingProxy:
        """Log the text that is printed, with this logger. Return the file in place of stdout and stderr."""
        proxy: Any = LoggingProxy(logger, loglevel)
        if stdout:
            sys.stdout = proxy
        if stderr:
            sys.stderr = proxy
        return proxy  # type: ignore[no-any-return]

    def supports_color(self, colorize: bool | None = None, logfile: Any = None) -> bool:
        """Return whether log lines are coloured: if the log goes to a terminal and the settings allow it."""
        wanted = self.colorize if colorize is None else colorize
        if wanted is False or os.name == "nt":
            return False
        return logfile is None and sys.stderr is not None and sys.stderr.isatty()

    def get_default_logger(self, name: str = "celery", **kwargs: Any) -> logging.Logger:
        """Return the logger of this name."""
        return get_logger(name)


def _handler(logfile: Any) -> logging.Handler:
    if logfile is None or hasattr(logfile, "write"):
        return logging.StreamHandler(sys.__stderr__ if logfile is None else logfile)
    try:
        return LogFile(logfile, encoding="utf-8")
    except OSError as error:
        raise ImproperlyConfigured(f"the log file {logfile} can't be written: {error.strerror}") from None


class LogFile(logging.handlers.WatchedFileHandler):
    """A log file that is opened again after a rotation. A symbolic link of another user is not followed."""

    def _open(self) -> TextIOWrapper:
        return TextIOWrapper(open(open_for_append(self.baseFilename), "ab"), self.encoding, self.errors)
