"""From a command's arguments to an application, and from an application's error to one line."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import click
from pyramid.scripts.common import get_config_loader

from ..app import Celery
from ..exceptions import CeleryError, ImproperlyConfigured, OperationalError
from ..worker.discovery import app_of

LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(threadName)s] %(message)s"
"""For an ini that says nothing of logging; Celery's, with the thread for the process."""

EXIT_FAILED = 1
"""The surroundings are not as they should be: no server, no namespace."""
EXIT_USAGE = 2
"""What the user wrote can't be used: the command line, the ini, a setting."""


def bootstrapped(config: str) -> Celery:
    """Load the application as pserve does: its ini, the logging of the ini, its `main()`."""
    path = config.partition("#")[0]
    if "://" not in path and not path.startswith("egg:") and not Path(path).is_file():
        raise click.UsageError(f"there is no file {path!r}; name the application's ini file")
    if os.getcwd() not in sys.path:  # as Celery's commands do: an application need not be installed to be run
        sys.path.insert(0, os.getcwd())
    loader = get_config_loader(config)
    if "loggers" in loader.get_sections():
        loader.setup_logging()
    else:
        logging.basicConfig(format=LOG_FORMAT)
    return app_of(loader.get_wsgi_app())


@contextlib.contextmanager
def failing_in_one_line() -> Iterator[None]:
    """What a user can mend is told in one line, and the exit code says whose turn it is."""
    try:
        yield
    except OperationalError as error:
        _fail(str(error), EXIT_FAILED)
    except CeleryError as error:
        _fail(str(error), EXIT_USAGE)


@contextlib.contextmanager
def loading(config: str, *, debug: bool) -> Iterator[None]:
    """While the application's own code runs: whatever it raises is the user's to mend."""
    try:
        yield
    except (click.ClickException, CeleryError):
        raise
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise ImproperlyConfigured(
            f"{config} can't be loaded: {text} ({where.filename}:{where.lineno}; -l debug shows the way there)"
        ) from None


def _fail(message: str, code: int) -> None:
    click.echo(f"ptemporal-compat: {message}", err=True)
    if code == EXIT_FAILED:
        # A connection that was given up still has a thread of the client library's at work; it panics, or hangs
        # for ever, when it comes back to an interpreter that is ending (seen with a server that does not answer).
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
